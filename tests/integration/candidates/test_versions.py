"""Versions come, are pinned, are damaged: calls go on."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import grpc
import pytest
from fusionrec.common.v1 import item_pb2

from services.candidates.versions.version import KIND
from shared.data.nouns import Item
from shared.data.splits import Protocol, Stage
from shared.rpc.status import error_info
from shared.testing.servers import health_status


async def test_without_a_model_it_is_live_says_why_and_starts_when_there_is_one(world):
    async with world.candidates(ready=False) as client:
        assert await health_status(client.running.channel) == "NOT_SERVING"
        assert await health_status(client.running.channel, "liveness") == "SERVING"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.get("user-1")
        assert error.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert error_info(error.value).reason == "MODEL_NOT_READY"

        async def told():
            return "fusionrec train" in (await client.info()).status_reason

        await client.until(told)
        await world.train()

        async def serving():
            return await health_status(client.running.channel) == "SERVING"

        await client.until(serving)
        assert len(await client.ids("user-1", k=5)) == 5


async def test_a_swap_fails_no_call_and_keeps_what_arrived_since_the_training(world, liked):
    await world.train()
    async with world.candidates() as client:
        first = (await client.info()).model_version
        outcomes, stop = [], asyncio.Event()

        async def ask():
            while not stop.is_set():
                answer = await client.get(history=liked("item-0", "item-3"), k=62)
                outcomes.append((len(answer.candidates), answer.served_by.models[0].version))

        askers = [asyncio.create_task(ask()) for _ in range(4)]
        versions = [manifest.version for manifest in await world.train()]
        await world.write_items(Item("since", "space story since"))

        async def swapped():
            return (await client.info()).model_version == versions[-1]

        await client.until(swapped)
        assert "since" in await client.ids(history=liked("item-0"), k=62)
        stop.set()
        await asyncio.gather(*askers)
        assert {version for _, version in outcomes} == {first, versions[-1]}
        assert {count for count, _ in outcomes} <= {58, 59}


def _damage(world, version):
    path = Path(world.artifacts) / KIND / version / "sources" / "als" / "factors.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"?")


async def test_a_damaged_version_is_not_used_and_named(world):
    (good,) = await world.train()
    async with world.candidates() as client:
        (bad,) = await world.train(stages=(Stage.TEST,))
        _damage(world, bad.version)
        world.store.set_current(KIND, bad.version)

        async def named():
            return "factors.npy" in (await client.info()).status_reason

        await client.until(named)
        answer = await client.get("user-1", k=5)
        assert len(answer.candidates) == 5
        assert answer.served_by.models[0].version == good.version
        assert await health_status(client.running.channel) == "SERVING"
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.get("user-1", model_version=bad.version)
        assert error.value.code() is grpc.StatusCode.DATA_LOSS


async def test_started_on_a_damaged_version_it_waits_for_a_good_one(world):
    (bad,) = await world.train()
    _damage(world, bad.version)
    async with world.candidates(ready=False) as client:

        async def named():
            return "factors.npy" in (await client.info()).status_reason

        await client.until(named)
        assert await health_status(client.running.channel) == "NOT_SERVING"
        await world.train()

        async def serving():
            return await health_status(client.running.channel) == "SERVING"

        await client.until(serving)


async def test_intact_files_of_another_format_are_refused(world):
    (old,) = await world.train()
    folder = Path(world.artifacts) / KIND / old.version
    copy = Path(world.artifacts) / "copy"
    shutil.copytree(folder, copy)
    (copy / "manifest.json").unlink()
    (copy / "items.jsonl").write_text("nothing\n")
    async with world.candidates() as client:
        world.store.publish(KIND, copy, labels={})

        async def named():
            return "not of the format" in (await client.info()).status_reason

        await client.until(named)
        assert len(await client.ids("user-1", k=3)) == 3


async def test_pinned_versions_answer_from_what_they_saw(world, liked):
    manifests = await world.train(Protocol.NEW_ITEMS, stages=())
    (test,) = [one for one in manifests if one.labels["stage"] == Stage.TEST]
    async with world.candidates(ready=False, pinned_versions=2) as client:
        answer = await client.get(history=liked("item-0", "item-3"), k=60, model_version=test.version)
        assert answer.served_by.models[0].version == test.version
        hidden = [one for one in answer.candidates if one.is_new]
        assert hidden
        for one in hidden:
            names = {evidence.source for evidence in one.evidence}
            assert "aligned_text" in names
            assert not {"als", "item_item"} & names
        # More versions than are kept in memory: each answers as its own.
        for _ in range(2):
            for manifest in manifests:
                answer = await client.get(history=liked("item-0"), k=3, model_version=manifest.version)
                assert answer.served_by.models[0].version == manifest.version
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.get("user-1", model_version="20200101T000000-unknown")
        assert error.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await client.info("../../etc")
        assert error.value.code() is grpc.StatusCode.NOT_FOUND


async def test_info_lists_every_version_with_labels_and_lineage(world):
    manifests = await world.train(stages=())
    async with world.candidates() as client:
        info = await client.info()
    assert [one.version for one in info.versions] == [one.version for one in reversed(manifests)]
    labels = [dict(one.labels) for one in info.versions]
    stages = [one["stage"] for one in labels]
    assert stages == ["serving", "test", *["fit"] * 5]
    assert [one.get("fold") for one in labels[2:]] == ["cold", "warm-3", "warm-2", "warm-1", "warm-0"]
    assert {one["protocol"] for one in labels} == {"warm"}
    assert [one.is_current for one in info.versions] == [True] + [False] * 6
    assert {dict(one.lineage)["embedding"] for one in info.versions} == {"hashing-1"}


async def test_old_versions_are_deleted_but_for_the_last(world):
    for _ in range(4):
        manifests = await world.train(keep_versions=2)
    left = world.store.versions(KIND)
    assert len(left) == 2
    assert manifests[-1].version in left


async def test_what_users_had_before_is_not_deleted(world):
    (good,), _, (last,) = [await world.train(keep_versions=4) for _ in range(3)]
    world.store.set_current(KIND, good.version)
    (current,) = await world.train(keep_versions=2)
    assert world.store.versions(KIND) == [current.version, last.version, good.version]


async def test_filters_apply_to_pinned_versions_as_well(world):
    (manifest,) = await world.train()
    async with world.candidates() as client:
        only = item_pb2.ItemFilter(categories_all=["western"])
        ids = await client.ids("user-1", k=5, model_version=manifest.version, filter=only)
        assert all(int(item_id.split("-")[1]) % 3 == 2 for item_id in ids)
        assert len(ids) == 5
