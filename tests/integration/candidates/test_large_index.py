"""A catalogue whose indexes are built at training: opened from files, written to live, built anew while calls run."""

from __future__ import annotations

import asyncio
import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as candidates_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb

from services.candidates.bootstrap import roll_back_to
from services.candidates.index.parameters import IndexParameters
from services.candidates.settings import CandidatesSettings
from services.candidates.sources.hyperparameters import TwoTowerParameters
from services.candidates.versions.version import KIND
from shared.data.nouns import Event, EventType, Item
from shared.data.splits import Protocol, Stage
from shared.errors import CorruptData
from shared.rpc.feed import LogFeed, read_snapshot

NOW = datetime(2021, 1, 1, tzinfo=UTC)
SPACES = ("cf", "mapped", "similar_cf", "similar_content")
SOON = {"rebuild_rows": 3, "rebuild_share": 0.0, "exact_rows": 5, "threads": 1}


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
async def test_built_indexes_answer_as_flat_ones_and_stay_live(world, liked, kind):
    await world.train()
    history = liked("item-0", "item-3", "item-6")
    async with world.candidates(answer_age_s=0, answer_age_unwritten_s=0) as client:
        flat = await client.ids(history=history, k=30)
    await world.train(index=IndexParameters(type=kind, **SOON))
    async with world.candidates(answer_age_s=0, answer_age_unwritten_s=0) as client:
        info = await client.info()
        names = ("cf", "content", "als", "aligned_text")
        expected = [*((name, kind, 60) for name in names), ("user_knn", kind, 36)]
        assert [(one.space, one.type, one.vectors) for one in info.indexes] == expected
        assert all(one.recall_at_100 == pytest.approx(1) for one in info.indexes)
        assert all("effort=" in one.parameters for one in info.indexes)
        assert info.index_version.startswith(kind)
        # Trained twice, the factors may differ in their last digits.
        assert len(set(flat) & set(await client.ids(history=history, k=30))) >= 27
        await world.write_items(*(Item(f"late-{number}", f"space story {number}") for number in range(8)))
        await world.ingestion.DeleteItem(_delete("item-9"))

        async def rebuilt():
            return all(one.rebuilds for one in (await client.info()).indexes if one.space != "user_knn")

        async def all_found():
            ids = await client.ids(history=history, k=68, sources=["aligned_text"])
            return {f"late-{number}" for number in range(8)} <= set(ids) and "item-9" not in ids

        await client.until(all_found)
        calls = [asyncio.create_task(client.ids(history=history, k=20)) for _ in range(100)]
        await client.until(rebuilt)
        assert all(len(ids) == 20 and "item-9" not in ids for ids in await asyncio.gather(*calls))
        assert await all_found()


async def test_what_was_measured_is_in_the_manifest(world):
    (manifest,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    measured = manifest.data["indexes"]
    assert [one["name"] for one in measured] == ["cf", "content", "als", "aligned_text", "user_knn"]
    assert [(one["type"], one["vectors"]) for one in measured] == [("ivf", 60)] * 4 + [("ivf", 36)]
    assert all(one["recall_at_100"] >= 0.95 for one in measured)


async def test_a_built_index_of_users_follows_the_log_through_a_rebuild(world):
    await world.train(index=IndexParameters(type="ivf", **SOON))
    async with world.candidates(answer_age_s=0, answer_age_unwritten_s=0) as client:
        await world.write_events(*(one for number in range(4) for one in _likes(f"new-{number}", (1, 4, 7, 10, 13))))
        await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id="user-7"))

        async def users():
            return next(one for one in (await client.info()).indexes if one.space == "user_knn")

        async def followed():
            found = set(await _similar_users(client, "user-4"))
            return {"user-1", *(f"new-{number}" for number in range(4))} <= found and "user-7" not in found

        async def rebuilt():
            one = await users()
            return one.rebuilds > 0 and one.pending <= SOON["rebuild_rows"]

        await client.until(followed)
        await client.until(rebuilt)
        assert await followed()
        one = await users()
        assert (one.type, one.vectors, one.added_live) == ("ivf", 36 + 4 - 1, 4)
        await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id="new-2"))

        async def gone():
            return "new-2" not in await _similar_users(client, "user-4")

        await client.until(gone)


async def test_of_few_items_and_many_users_only_the_index_of_users_is_built(world, tmp_path):
    likes = (_likes(f"more-{number}", (number, number + 3, number + 6)) for number in range(40))
    await world.write_events(*(one for several in likes for one in several))
    (manifest,) = await world.train(index=IndexParameters(flat_items=65, exact_rows=5, threads=1))
    assert [one["name"] for one in manifest.data["indexes"]] == ["user_knn"]
    async with world.candidates() as client:
        types = {one.space: (one.type, one.vectors) for one in (await client.info()).indexes}
        flat = dict.fromkeys(("cf", "content", "als", "aligned_text"), ("flat", 60))
        assert types == {**flat, "user_knn": ("ivf", 76)}
        built = await _similar_users(client, "user-4")
        # A version without them: its indexes are filled.
        second = _published(world, manifest, _copied(world, manifest, tmp_path / "copy", ()))

        async def swapped():
            return (await client.info()).model_version == second

        await client.until(swapped)
        types = {one.space: (one.type, one.vectors) for one in (await client.info()).indexes}
        assert types == {**flat, "user_knn": ("flat", 76)}
        assert await _similar_users(client, "user-4") == built


@pytest.mark.slow
async def test_the_index_of_the_two_towers_is_built_and_filled_alike(world, liked):
    pytest.importorskip("tensorflow")
    answers = []
    for kind in ("ivf", "flat"):
        index = IndexParameters(type=kind, **SOON)
        job = world.job(index=index)
        parameters = replace(job.parameters, two_tower=TwoTowerParameters(dim=8, hidden=8, epochs=1))
        job = replace(job, sources=("als", "two_tower"), parameters=parameters)
        await job.run(Protocol.WARM, (Stage.SERVING,), await read_snapshot(LogFeed(world.ingestion_channel)))
        async with world.candidates() as client:
            one = (await client.info()).indexes[-1]
            assert (one.space, one.type, one.dim, one.vectors) == ("two_tower", kind, 8, 60)
            answers.append(await client.ids(history=liked("item-0", "item-3"), k=10, sources=["two_tower"]))
            await world.write_items(Item("late", "space story"))

            async def placed():
                return (await client.info()).indexes[-1].vectors == 61

            await client.until(placed)
            await world.ingestion.DeleteItem(_delete("late"))
    assert len(answers[0]) == 10
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", ["cf", "user_knn"])
async def test_an_index_of_another_embedding_is_refused_and_the_last_good_one_stays(world, liked, tmp_path, name):
    (first,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    async with world.candidates() as client:
        folder = _copied(world, first, tmp_path / "copy", (name,) if name == "user_knn" else (*SPACES, name))
        report = json.loads((folder / "indexes" / name / "index.json").read_text())
        assert report["embedding"] == "hashing-1"
        second = _published(world, first, folder, embedding="hashing-2")

        async def named():
            return f"{second} is not of the format" in (await client.info()).status_reason

        await client.until(named)
        assert (await client.info()).model_version == first.version
        assert await client.ids(history=liked("item-0"), k=5)


@pytest.mark.parametrize("name", ["cf", "user_knn"])
async def test_an_index_file_cut_by_a_byte_is_refused_and_the_last_good_one_stays(world, liked, tmp_path, name):
    (first,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    async with world.candidates() as client:
        folder = _copied(world, first, tmp_path / "copy", (*SPACES, "user_knn"))
        # Cut before it is published: the manifest finds nothing amiss, the index must.
        file = folder / "indexes" / name / "index.faiss"
        file.write_bytes(file.read_bytes()[:-1])
        second = _published(world, first, folder)

        async def named():
            return f"{second} is not of the format" in (await client.info()).status_reason

        await client.until(named)
        assert (await client.info()).model_version == first.version
        assert await client.ids(history=liked("item-0"), k=5)


async def test_rolling_back_opens_the_indexes_as_the_server_does(world, tmp_path):
    (first,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    folder = _copied(world, first, tmp_path / "copy", (*SPACES, "user_knn"))
    file = folder / "indexes" / "cf" / "index.faiss"
    whole = file.read_bytes()
    file.write_bytes(whole[:-1])
    cut = _published(world, first, folder)
    file.write_bytes(whole)
    current = _published(world, first, folder)
    settings = CandidatesSettings(artifacts=world.artifacts)
    with pytest.raises(CorruptData, match=f"{cut} is not of the format"):
        roll_back_to(settings, "")
    assert world.store.current(KIND) == current
    assert roll_back_to(settings, first.version)[1].version == first.version == world.store.current(KIND)


async def test_a_version_with_some_of_the_indexes_of_its_spaces_is_refused(world, tmp_path):
    (first,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    async with world.candidates() as client:
        second = _published(world, first, _copied(world, first, tmp_path / "copy", (*SPACES[1:], "user_knn")))

        async def named():
            return f"{second} is not of the format" in (await client.info()).status_reason

        await client.until(named)


def _copied(world, manifest, folder, indexes):
    """Returns a copy of a version's folder with these of its indexes."""
    shutil.copytree(world.store.load(KIND, manifest.version).folder, folder)
    (folder / "manifest.json").unlink()
    for index in (folder / "indexes").iterdir():
        if index.name not in indexes:
            shutil.rmtree(index)
    return folder


def _published(world, manifest, folder, embedding="hashing-1"):
    """Publishes a folder as a version like that of the manifest, made with this embedding; returns its name."""
    return world.store.publish(
        KIND,
        folder,
        config=manifest.config,
        data=manifest.data,
        lineage={"embedding": embedding},
        labels=manifest.labels,
    ).version


async def _similar_users(client, user_id):
    request = candidates_pb.GetSimilarUsersRequest(user_id=user_id, k=50)
    return [one.user_id for one in (await client.stub.GetSimilarUsers(request)).users]


def _likes(user_id, numbers):
    return [
        Event(f"{user_id}-{number}", user_id, f"item-{number}", EventType.LIKE, NOW + timedelta(seconds=number))
        for number in numbers
    ]


def _delete(item_id):
    return ingestion_pb.DeleteItemRequest(item_id=item_id)
