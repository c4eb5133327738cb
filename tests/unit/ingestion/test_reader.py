from __future__ import annotations

import asyncio

import pytest

from services.ingestion.adapters.sqlite_store import SqliteStore
from services.ingestion.reading.reader import LogReader
from shared.data.nouns import EventType
from shared.errors import ShuttingDown
from shared.testing.ingestion_samples import NOTHING, event


@pytest.fixture
async def store(tmp_path):
    store = SqliteStore(tmp_path / "events.db")
    await store.open()
    yield store
    await store.close()


async def stretches(reader, position=0, *, follow=False, limit=10, exclude=NOTHING):
    return [one async for one in reader.read(position, follow=follow, limit=limit, exclude=exclude)]


async def test_a_replay_ends_with_the_stretch_that_is_at_the_end(store):
    reader = LogReader(store, asyncio.Event())
    await store.append_events([event(n) for n in range(20)])
    found = await stretches(reader)
    assert [(len(one.records), one.at_end) for one in found] == [(10, False), (10, True)]
    assert [(one.records, one.position, one.at_end) for one in await stretches(reader, 20)] == [([], 20, True)]


async def test_a_follower_hears_once_that_it_has_read_everything(store):
    stopping = asyncio.Event()
    following = LogReader(store, stopping).read(0, follow=True, limit=10, exclude=NOTHING)
    first = await anext(following)
    assert (first.records, first.at_end) == ([], True)
    later = asyncio.ensure_future(anext(following))
    await asyncio.sleep(0.02)
    assert not later.done()
    await store.append_events([event(1)])
    assert [one.body for one in (await asyncio.wait_for(later, 5)).records] == [event(1)]
    last = asyncio.ensure_future(anext(following, None))
    await asyncio.sleep(0)
    stopping.set()
    assert await asyncio.wait_for(last, 5) is None


async def test_what_is_excluded_wakes_nobody_and_is_passed_over(store):
    following = LogReader(store, asyncio.Event()).read(
        0, follow=True, limit=10, exclude=frozenset({EventType.IMPRESSION})
    )
    await anext(following)
    later = asyncio.ensure_future(anext(following))
    for number in range(3):
        await store.append_events([event(number, kind=EventType.IMPRESSION)])
    await store.append_events([event(9)])
    stretch = await asyncio.wait_for(later, 5)
    assert [one.body for one in stretch.records] == [event(9)]
    assert stretch.position == 4
    await following.aclose()


async def test_a_stopping_server_ends_followers_but_no_replay(store):
    stopping = asyncio.Event()
    stopping.set()
    await store.append_events([event(n) for n in range(20)])
    reader = LogReader(store, stopping)
    assert await stretches(reader, follow=True) == []
    assert sum(len(one.records) for one in await stretches(reader)) == 20


async def test_the_log_is_read_only_when_the_consumer_asks(store):
    class Counting:
        reads = 0
        end = property(lambda _: store.end)

        async def read(self, *args):
            self.reads += 1
            return await store.read(*args)

        wait_beyond = staticmethod(store.wait_beyond)

    log = Counting()
    await store.append_events([event(n) for n in range(100)])
    following = LogReader(log, asyncio.Event()).read(0, follow=True, limit=1, exclude=NOTHING)
    await anext(following)
    await store.append_events([event(n) for n in range(100, 200)])
    await asyncio.sleep(0.02)
    assert log.reads == 1
    await following.aclose()


async def test_a_closing_store_wakes_those_who_wait(tmp_path):
    store = SqliteStore(tmp_path / "other.db")
    await store.open()
    waiter = asyncio.ensure_future(store.wait_beyond(0))
    await asyncio.sleep(0)
    await store.close()
    with pytest.raises(ShuttingDown):
        await asyncio.wait_for(waiter, 5)
    with pytest.raises(ShuttingDown):
        await store.read(0, 1, NOTHING)
