"""Answers are given again, and still every promise holds: what is asked here has been asked before and is kept."""

from __future__ import annotations

import gc
import weakref
from datetime import UTC, datetime, timedelta

import pytest
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from google.protobuf.timestamp_pb2 import Timestamp

from services.candidates.live.version import LiveVersion
from services.candidates.versions.version import Version
from shared.data.nouns import Event, EventType, Item

SPACE = {"k": 60, "sources": ["aligned_text"]}
"""What user-0, who loves space, is asked with: the new items of the tests can only be found by their text."""


@pytest.fixture
async def client(world):
    (manifest,) = await world.train()
    # So long that nothing gets old while a test waits: only what voids an answer lets the next one be computed.
    async with world.candidates(answer_age_s=1, answer_age_unwritten_s=600) as client:
        client.version = manifest.version
        yield client


async def kept(client, user_id, **fields):
    """Returns an answer that is given again from now on."""
    first = await client.get(user_id, **fields)
    second = await client.get(user_id, **fields)
    assert first.computed_at == second.computed_at
    return second


def name_of(version):
    return (version.version if isinstance(version, LiveVersion) else version).about.version


async def shows(client, user_id, item_id, **fields):
    async def found():
        return item_id in await client.ids(user_id, **fields)

    await client.until(found)


async def test_other_questions_have_other_answers(client):
    answer = await kept(client, "user-0", k=10)
    for fields in ({"k": 11}, {"k": 10, "sources": ["als"]}, {"k": 10, "score_item_ids": ["item-1"]}):
        assert (await client.get("user-0", **fields)).computed_at != answer.computed_at
    assert (await client.get("user-1", k=10)).computed_at != answer.computed_at
    assert (await client.get("user-0", k=10)).computed_at == answer.computed_at


async def test_the_users_own_event_counts_at_once(client, world):
    (first,) = (await kept(client, "user-0", k=1)).candidates
    event = Event("seen", "user-0", first.item_id, EventType.LIKE, datetime.now(UTC))
    await world.write_events(event)

    async def moved_on():
        return first.item_id not in await client.ids("user-0", k=1)

    await client.until(moved_on)


async def test_a_deleted_item_is_gone_at_once(client, world):
    (first,) = (await kept(client, "user-0", k=1)).candidates
    await world.ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id=first.item_id))

    async def known():
        return (await client.info()).catalogue_items == 59

    await client.until(known)
    assert first.item_id not in await client.ids("user-0", k=1)


async def test_a_new_item_shows(client, world):
    await kept(client, "user-0", **SPACE)
    await world.write_items(Item("fresh", "space story never seen"))
    await shows(client, "user-0", "fresh", **SPACE)


async def test_what_others_teach_of_a_new_item_shows(client, world):
    await world.write_items(Item("misfiled", "western story"))

    async def listed():
        return (await client.info()).catalogue_items == 61

    await client.until(listed)
    asked = {"k": 60, "sources": ["als"]}
    assert "misfiled" not in [one.item_id for one in (await kept(client, "user-0", **asked)).candidates]
    now = datetime.now(UTC)
    fans = [f"user-{number}" for number in range(3, 36, 3)]
    await world.write_events(*(Event(fan, fan, "misfiled", EventType.LIKE, now) for fan in fans))
    await shows(client, "user-0", "misfiled", **asked)


async def test_an_item_shows_when_it_becomes_available_and_goes_when_it_ends(client, world):
    now = datetime.now(UTC)
    opens, ends = now + timedelta(seconds=2), now + timedelta(seconds=3)
    await world.write_items(Item("later", "space story of tonight", available_from=opens, available_until=ends))

    async def placed():
        similar = await client.get("user-0", score_item_ids=["later"], sources=["aligned_text"])
        return bool(similar.candidates[0].evidence)

    await client.until(placed)
    await kept(client, "user-0", **SPACE)
    await shows(client, "user-0", "later", **SPACE)

    async def gone():
        return "later" not in await client.ids("user-0", **SPACE)

    await client.until(gone)


async def test_nothing_kept_outlives_a_forgotten_user(client, world):
    # What others may see changes with the one who is forgotten, too.
    answer = await kept(client, "user-3", k=10)
    await world.ingestion.ForgetUser(ingestion_pb.ForgetUserRequest(user_id="user-0"))

    async def computed_anew():
        return (await client.get("user-3", k=10)).computed_at != answer.computed_at

    await client.until(computed_anew)


async def test_a_swap_is_seen_at_once_and_the_old_version_leaves_memory(client, world):
    answer = await kept(client, "user-0", k=10)
    old = [weakref.ref(one) for one in gc.get_objects() if isinstance(one, LiveVersion | Version)]
    old = [one for one in old if name_of(one()) == client.version]
    assert len(old) == 2
    (manifest,) = await world.train()

    async def swapped():
        now = await client.get("user-0", k=10)
        is_new = now.served_by.models[0].version == manifest.version
        assert is_new == (now.computed_at != answer.computed_at)
        return is_new

    async def freed():
        return all(one() is None for one in old)

    gc.disable()
    try:
        await client.until(swapped)
        await client.until(freed)
    finally:
        gc.enable()


async def test_explicit_histories_pinned_versions_and_other_times_are_computed(client, liked):
    as_of = Timestamp()
    as_of.FromDatetime(datetime(2020, 1, 5, tzinfo=UTC))
    await kept(client, "user-0", k=10)
    for fields in (
        {"history": liked("item-0")},
        {"model_version": client.version},
        {"history": liked("item-0"), "model_version": client.version},
        {"as_of": as_of},
    ):
        first = await client.get("user-0", k=10, **fields)
        assert (await client.get("user-0", k=10, **fields)).computed_at != first.computed_at
