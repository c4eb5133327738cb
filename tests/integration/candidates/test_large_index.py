"""A catalogue whose indexes are built at training: opened from files, written to live, built anew while calls run."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb

from services.candidates.index.parameters import IndexParameters
from services.candidates.versions.version import KIND
from shared.data.nouns import Item

SOON = {"rebuild_rows": 3, "rebuild_share": 0.0, "exact_rows": 5, "threads": 1}


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
async def test_built_indexes_answer_as_flat_ones_and_stay_live(world, liked, kind):
    await world.train()
    history = liked("item-0", "item-3", "item-6")
    async with world.candidates(answer_age_s=0) as client:
        flat = await client.ids(history=history, k=30)
    await world.train(index=IndexParameters(type=kind, **SOON))
    async with world.candidates(answer_age_s=0) as client:
        info = await client.info()
        names = ("cf", "content", "als", "aligned_text")
        assert [(one.space, one.type, one.vectors) for one in info.indexes] == [(name, kind, 60) for name in names]
        assert all(one.recall_at_100 == pytest.approx(1) for one in info.indexes)
        assert all("effort=" in one.parameters for one in info.indexes)
        assert info.index_version.startswith(kind)
        # Trained twice, the factors may differ in their last digits.
        assert len(set(flat) & set(await client.ids(history=history, k=30))) >= 27
        await world.write_items(*(Item(f"late-{number}", f"space story {number}") for number in range(8)))
        await world.ingestion.DeleteItem(_delete("item-9"))

        async def rebuilt():
            return all(one.rebuilds for one in (await client.info()).indexes)

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
    assert [one["type"] for one in manifest.data["indexes"]] == ["ivf"] * 4
    assert all(one["recall_at_100"] >= 0.95 for one in manifest.data["indexes"])


async def test_an_index_of_another_embedding_is_refused_and_the_last_good_one_stays(world, liked):
    (first,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    async with world.candidates() as client:
        world.embedder.version = "hashing-2"
        second = await _published_with_the_index_of(world, first)

        async def named():
            return second in (await client.info()).status_reason

        await client.until(named)
        assert (await client.info()).model_version == first.version
        assert await client.ids(history=liked("item-0"), k=5)


async def test_an_index_file_cut_by_a_byte_is_refused_and_the_last_good_one_stays(world, liked):
    (first,) = await world.train(index=IndexParameters(type="ivf", **SOON))
    async with world.candidates() as client:
        world.store.set_current(KIND, first.version)
        second = await _published_with_the_index_of(world, first, embedding="hashing-1", cut=True)

        async def named():
            return second in (await client.info()).status_reason

        await client.until(named)
        assert (await client.info()).model_version == first.version
        assert await client.ids(history=liked("item-0"), k=5)


async def _published_with_the_index_of(world, first, embedding="hashing-2", *, cut=False):
    """Publishes a version anew: made with this embedding version, or with an index file that lost its last byte."""
    folder = world.store.load(KIND, first.version).folder
    report = json.loads((Path(folder) / "indexes" / "cf" / "index.json").read_text())
    assert report["embedding"] == "hashing-1"
    second = world.store.publish(
        KIND,
        folder,
        config=first.config,
        data=first.data,
        lineage={"embedding": embedding},
        labels=first.labels,
        make_current=not cut,
    )
    if cut:
        file = Path(world.artifacts) / KIND / second.version / "indexes" / "cf" / "index.faiss"
        file.write_bytes(file.read_bytes()[:-1])
        world.store.set_current(KIND, second.version)
    return second.version


def _delete(item_id):
    return ingestion_pb.DeleteItemRequest(item_id=item_id)
