"""A list on its way through the embedder: texts without a vector, and feeds that wait for room."""

from __future__ import annotations

import asyncio

import pytest

from services.embedding.batching.job import Priority
from services.embedding.cache.lru import VectorCache
from services.embedding.encoders.model import TokenizedText
from services.embedding.serving.embedder import Embedder
from services.embedding.serving.patience import Patience
from services.embedding.serving.state import ServingState
from shared.errors import Overloaded, Reason, ShuttingDown

from .gated_encoder import OVERFLOWS, SumEncoder, make, occupy


class Numbers:
    """A tokenizer: "3 4" are the ids 3 and 4."""

    def tokenize(self, texts):
        rows = [tuple(map(int, text.split())) for text in texts]
        return [TokenizedText(row, len(row), 0, truncated=False) for row in rows]


@pytest.fixture
def encoder():
    return SumEncoder()


@pytest.fixture
def batcher(encoder):
    batcher = make(encoder)
    yield batcher
    encoder.gate.set()
    batcher.close()


@pytest.fixture
def cache():
    return VectorCache(100)


def made(encoder, batcher, cache, seconds_left=lambda: None):
    return Embedder(Numbers(), batcher, cache, encoder.facts, seconds_left)


async def test_a_text_that_is_not_finite_fails_alone_and_is_never_kept(encoder, batcher, cache):
    encoder.gate.set()
    embedder = made(encoder, batcher, cache)
    for _ in range(2):
        good, wrong, other = (await embedder.embed(["1", f"2 {OVERFLOWS}", "3 4"], Priority.BULK)).results
        assert (good.found.vector.tolist(), other.found.vector.tolist()) == ([1, 1], [7, 2])
        assert wrong.found is None
        assert (wrong.violation.field, wrong.violation.reason) == ("texts[1]", Reason.INTERNAL)
        assert "finite" in wrong.violation.limit
    assert len(cache) == 2


async def test_a_feed_waits_for_room_and_a_call_is_refused(encoder, batcher, cache):
    embedder = made(encoder, batcher, cache)
    occupy(batcher, encoder)
    waiting = batcher.submit([[1]] * 20, Priority.BULK)
    with pytest.raises(Overloaded):
        await embedder.embed(["5"], Priority.BULK)
    refusals = []

    class Noted(Patience):
        async def wait(self, refused):
            refusals.append(refused)
            encoder.gate.set()
            await super().wait(refused)

    feed = embedder.embed(["5"], Priority.BULK, Noted(lambda: 60.0, ServingState()))
    assert (await feed).results[0].found.vector.tolist() == [5, 1]
    assert refusals
    assert len(waiting.result(10).vectors) == 20


async def test_a_feed_is_refused_when_no_time_is_left_to_wait_in():
    refused = Overloaded("full", retry_after_s=5.0)
    with pytest.raises(Overloaded) as raised:
        await Patience(lambda: 4.0, ServingState()).wait(refused)
    assert raised.value is refused


async def test_a_feed_that_waits_ends_when_the_server_stops():
    state = ServingState()
    patience = Patience(lambda: None, state)
    # As the composition root does it when the server starts, after the servicer was made.
    state.stopping = asyncio.Event()
    waiting = asyncio.ensure_future(patience.wait(Overloaded("full", retry_after_s=600.0)))
    await asyncio.sleep(0)
    state.stopping.set()
    async with asyncio.timeout(10):
        with pytest.raises(ShuttingDown):
            await waiting
