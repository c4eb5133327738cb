from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.candidates.arrays import GrowingArray
from services.candidates.live import histories as histories_module
from services.candidates.live.histories import LiveHistories
from services.candidates.ports import UserHistory
from services.candidates.workers import Workers
from shared.data.nouns import Event, EventType, HistoryEvent
from shared.rpc import context

START = datetime(2020, 1, 1, tzinfo=UTC)


def entry(item, day=0):
    return HistoryEvent(item, EventType.LIKE, START + timedelta(days=day))


def event(user, item, day=0):
    return Event(f"{user}{item}{day}", user, item, EventType.LIKE, START + timedelta(days=day))


class Store:
    """Histories in a dict, as of a sequence; `gate` holds reads back."""

    def __init__(self):
        self.content = {}
        self.sequence = 0
        self.reads = 0
        self.gate = None

    async def read(self, user_id):
        self.reads += 1
        answer = UserHistory(tuple(self.content.get(user_id, ())), self.sequence)
        if self.gate is not None:
            await self.gate.wait()
        return answer


@pytest.fixture
def store():
    return Store()


@pytest.fixture
def histories(store):
    return LiveHistories(store, max_users=2, max_events=3)


async def items(histories, user):
    return [one.item_id for one in await histories.read(user)]


async def test_an_event_after_the_read_is_added_once(histories, store):
    store.content["u"], store.sequence = [entry("a")], 5
    assert await items(histories, "u") == ["a"]
    histories.add(4, event("u", "old"))
    histories.add(5, event("u", "a"))
    histories.add(6, event("u", "b"))
    histories.add(6, event("u", "b"))
    assert await items(histories, "u") == ["a", "b"]
    assert store.reads == 1


async def test_an_event_that_arrives_while_the_store_is_read_is_not_lost(histories, store):
    store.gate = asyncio.Event()
    store.sequence = 5
    reading = asyncio.create_task(histories.read("u"))
    await asyncio.sleep(0)
    histories.add(6, event("u", "b"))
    histories.add(7, event("other", "c"))
    store.gate.set()
    assert [one.item_id for one in await reading] == ["b"]
    assert await items(histories, "u") == ["b"]


async def test_late_events_take_their_place_in_time_and_the_oldest_go(histories):
    await histories.read("u")
    for sequence, (item, day) in enumerate([("b", 2), ("d", 4), ("a", 1), ("c", 3)], start=1):
        histories.add(sequence, event("u", item, day))
    assert await items(histories, "u") == ["b", "c", "d"]


async def test_a_forgotten_user_has_no_history(histories, store):
    store.content["u"], store.sequence = [entry("a")], 5
    await histories.read("u")
    histories.forget(6, "u")
    assert await items(histories, "u") == []
    histories.add(7, event("u", "b"))
    assert await items(histories, "u") == ["b"]


async def test_a_forgotten_users_events_are_in_no_record_kept(histories):
    histories.add(1, event("u", "a"))
    histories.add(2, event("other", "b"))
    histories.forget(3, "u")
    assert [(one.sequence, one.user_id, one.event is None) for one in histories._recent] == [
        (1, "u", True),
        (2, "other", False),
        (3, "u", True),
    ]


async def test_the_least_recently_asked_user_is_dropped(histories, store):
    for user in ("a", "b", "a", "c"):
        await histories.read(user)
    assert store.reads == 3
    await histories.read("a")
    assert store.reads == 3
    await histories.read("b")
    assert store.reads == 4


async def test_clear_forgets_the_positions_as_well(histories, store):
    store.sequence = 50
    await histories.read("u")
    histories.add(60, event("u", "a"))
    histories.clear()
    store.sequence = 1
    await histories.read("u")
    histories.add(2, event("u", "b"))
    assert await items(histories, "u") == ["b"]


async def test_a_history_with_a_possible_gap_is_not_kept(histories, store, monkeypatch):
    monkeypatch.setattr(histories_module, "RECENT", 3)
    histories._recent = type(histories._recent)(maxlen=3)
    for sequence in range(10, 16):
        histories.add(sequence, event("other", "x"))
    store.sequence = 9
    await histories.read("u")
    await histories.read("u")
    assert store.reads == 2
    store.sequence = 14
    await histories.read("u")
    await histories.read("u")
    assert store.reads == 3


def test_growing_arrays_keep_what_readers_hold():
    array = GrowingArray(np.arange(3), -1)
    held = array.values
    array.grow(10)
    assert array.values.tolist() == [0, 1, 2] + [-1] * 7
    array.values[0] = 9
    array.grow(2_000)
    assert (len(array.values), array.values[0], array.values[-1]) == (2_000, 9, -1)
    assert held.tolist() == [0, 1, 2]


async def test_workers_see_the_context_of_the_call():
    workers = Workers(1, "test")
    context.set_request_id("call-7")
    assert await workers.run(context.request_id) == "call-7"
    workers.close()
