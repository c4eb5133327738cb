"""The follower: the log into the live state, vectors for what is new."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field

import numpy as np
import pytest

from services.ranker.items.follower import Follower
from services.ranker.items.live import LiveItems
from services.ranker.ports import Embedded
from shared.background import supervised
from shared.data.nouns import Item, LogRecord
from shared.errors import DependencyUnavailable

from .samples import RULES, START, rating


@dataclass
class Batch:
    records: list
    caught_up: bool
    cursor: str = "c"


class Feed:
    """A log that batches are appended to."""

    def __init__(self):
        self.queue = asyncio.Queue()
        self.cursors = []

    async def follow(self, on_reset, cursor=""):
        self.cursors.append(cursor)
        while True:
            batch = await self.queue.get()
            if batch is None:
                on_reset()
            else:
                yield batch


@dataclass
class Encoder:
    down: bool = False
    broken: bool = False
    asked: list = field(default_factory=list)

    async def embed(self, texts, timeout_s, *, bulk=False, version=""):  # noqa: ARG002 (the port's signature)
        if self.broken:
            raise RuntimeError("a defect")
        if self.down:
            raise DependencyUnavailable("embedding", "not reachable")
        self.asked.append(list(texts))
        return Embedded(np.ones((len(texts), 2), dtype=np.float32), np.ones(len(texts), dtype=bool), "e1")


async def until(check):
    async with asyncio.timeout(10):
        while not check():
            await asyncio.sleep(0.005)


@pytest.fixture
async def world():
    live, feed, encoder = LiveItems(RULES), Feed(), Encoder()
    follower = Follower(live, feed, encoder)
    loops = (follower.follow, follower.embed)
    tasks = [asyncio.create_task(supervised(loop, loop.__name__, restart_s=0.01)) for loop in loops]
    yield live, feed, encoder, follower
    for task in tasks:
        task.cancel()
    for task in tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await task


def written(*names, caught_up=True):
    return Batch([LogRecord(n, START, Item(name, title=name)) for n, name in enumerate(names)], caught_up)


async def test_nothing_is_embedded_before_there_is_a_model(world):
    live, feed, encoder, follower = world
    feed.queue.put_nowait(written("a", "b"))
    await asyncio.wait_for(follower.caught_up.wait(), 10)
    await asyncio.sleep(0.02)
    assert encoder.asked == []
    follower.begin_embedding()
    await until(lambda: live.table.vectors.count == 2)
    feed.queue.put_nowait(written("c"))
    await until(lambda: live.table.vectors.count == 3)


async def test_items_wait_while_embedding_is_down(world):
    live, feed, encoder, follower = world
    encoder.down = True
    follower.begin_embedding()
    feed.queue.put_nowait(written("a"))
    await until(lambda: "a" in live.table.rows)
    await asyncio.sleep(0.02)
    assert live.table.vectors.count == 0
    encoder.down = False
    await until(lambda: live.table.vectors.count == 1)


async def test_a_replaced_log_is_read_anew(world):
    live, feed, _, _ = world
    feed.queue.put_nowait(written("a"))
    await until(lambda: len(live.catalogue) == 1)
    feed.queue.put_nowait(None)
    feed.queue.put_nowait(written("b"))
    await until(lambda: live.catalogue.get("b") is not None)
    assert live.catalogue.get("a") is None


async def test_a_stretch_that_cannot_be_applied_does_not_end_the_loop(world):
    live, feed, _, _ = world
    feed.queue.put_nowait(Batch([LogRecord(1, None, Item(None))], caught_up=False, cursor="after-the-bad-one"))
    feed.queue.put_nowait(written("b"))
    await until(lambda: live.catalogue.get("b") is not None)
    assert feed.cursors in ([""], ["", "after-the-bad-one"])


async def test_a_defect_in_embedding_ends_neither_the_loop_nor_the_waiting(world):
    live, feed, encoder, follower = world
    encoder.broken = True
    follower.begin_embedding()
    feed.queue.put_nowait(written("a"))
    await until(lambda: "a" in live.table.rows)
    await asyncio.sleep(0.02)
    encoder.broken = False
    await until(lambda: live.table.vectors.count == 1)


async def test_a_short_log_has_its_own_clock_at_its_end(world):
    live, feed, _, follower = world
    events = [LogRecord(day, START, rating("u", "a", 5, day)) for day in (1, 2, 3)]
    feed.queue.put_nowait(Batch(events, caught_up=True))
    await asyncio.wait_for(follower.caught_up.wait(), 10)
    assert live.table.popularity.clock == int(rating("u", "a", 5, 3).timestamp.timestamp())
