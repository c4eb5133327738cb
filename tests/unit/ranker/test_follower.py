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
from shared.data.nouns import Item, LogRecord
from shared.errors import DependencyUnavailable

from .conftest import RULES, START


@dataclass
class Batch:
    records: list
    caught_up: bool


class Feed:
    """A log that batches are appended to."""

    def __init__(self):
        self.queue = asyncio.Queue()

    async def follow(self, on_reset, cursor=""):  # noqa: ARG002 (the port's signature)
        while True:
            batch = await self.queue.get()
            if batch is None:
                on_reset()
            else:
                yield batch


@dataclass
class Encoder:
    down: bool = False
    asked: list = field(default_factory=list)

    async def embed(self, texts, timeout_s, *, bulk=False):  # noqa: ARG002 (the port's signature)
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
    tasks = [asyncio.create_task(follower.follow()), asyncio.create_task(follower.embed())]
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
