"""Impressions: which are written, which are dropped, and that none is lost unheard."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from prometheus_client import REGISTRY

from services.ranker.nouns import Question, Result
from services.ranker.pipeline.record.record import ImpressionRecorder
from shared.errors import DependencyUnavailable

from .house import built
from .samples import seen


async def test_impressions_carry_the_tokens_of_the_answer(house):
    await house.train()
    answer = await house.ask()
    await house.recorder.flush()
    assert [event.attribution_token for event in house.near.written] == [
        one.attribution_token for one in answer.results
    ]
    assert [event.item_id for event in house.near.written] == [one.item_id for one in answer.results]
    assert [event.position for event in house.near.written] == [1, 2, 3, 4, 5]
    assert all(
        token.startswith(answer.recommendation_id) for token in (e.attribution_token for e in house.near.written)
    )


async def test_no_impressions_when_not_wanted_pinned_or_without_a_user(house):
    version = await house.train()
    skipped = await house.ask(skip_impressions=True)
    pinned = await house.ask(question=Question("u", model_version=version))
    session = await house.ask(question=Question("", history=(seen("i0"),)))
    await house.recorder.flush()
    assert house.near.written == []
    assert all(not one.attribution_token for answer in (skipped, pinned, session) for one in answer.results)


async def test_impressions_past_the_bound_are_dropped(house):
    await house.train()
    for _ in range(6):
        await house.ask()
    await house.recorder.flush()
    assert len(house.near.written) == 20


def counted(outcome):
    return REGISTRY.get_sample_value("fusionrec_impressions_total", {"outcome": outcome}) or 0.0


def shown(*item_ids):
    return [Result(item_id, 1.0, n + 1, attribution_token=f"t-{item_id}") for n, item_id in enumerate(item_ids)]


class Slow:
    """A writer that answers when it is let; `writes` tells what was sent."""

    def __init__(self):
        self.open, self.sent, self.writes = asyncio.Event(), asyncio.Event(), []

    async def write(self, events, timeout_s):  # noqa: ARG002 (the port's signature)
        self.writes.append([event.item_id for event in events])
        self.sent.set()
        await self.open.wait()
        return len(events)


async def end(task):
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_what_is_being_written_at_the_end_is_written_again():
    writer = Slow()
    recorder = ImpressionRecorder(writer, capacity=10)
    running = asyncio.create_task(recorder.run())
    recorder.put("u", shown("a", "b"), recorder.mark)
    await asyncio.wait_for(writer.sent.wait(), 10)
    recorder.put("u", shown("c"), recorder.mark)
    await end(running)
    writer.open.set()
    await recorder.close(10)
    assert writer.writes == [["a", "b"], ["a", "b", "c"]]


async def test_what_cannot_be_written_at_the_end_is_counted():
    recorder = ImpressionRecorder(Slow(), capacity=10)
    recorder.put("u", shown("a", "b", "c"), recorder.mark)
    before = counted("dropped")
    await recorder.close(0.01)
    assert counted("dropped") == before + 3


async def test_what_waits_of_a_forgotten_user_is_not_written():
    class Failing(Slow):
        async def write(self, events, timeout_s):
            await super().write(events, timeout_s)
            self.failed = getattr(self, "failed", 0) + 1
            if self.failed == 1:
                raise DependencyUnavailable("ingestion", "not reachable")
            return len(events)

    writer = Failing()
    recorder = ImpressionRecorder(writer, capacity=10)
    running = asyncio.create_task(recorder.run())
    recorder.put("gone", shown("a"), recorder.mark)
    recorder.put("stays", shown("b"), recorder.mark)
    await asyncio.wait_for(writer.sent.wait(), 10)
    recorder.put("gone", shown("c"), recorder.mark)
    recorder.forget("gone")
    writer.open.set()
    async with asyncio.timeout(10):
        while len(writer.writes) < 2:
            await asyncio.sleep(0.01)
    await end(running)
    assert writer.writes == [["a", "b"], ["b"]]


@pytest.mark.parametrize("keep_s", [0.0, 10.0])
async def test_a_call_under_way_when_its_user_is_erased_writes_no_impressions(tmp_path, keep_s):
    house = built(tmp_path, keep_s=keep_s)
    await house.train()
    # With answers that are kept the second call is answered by the first one's, after its history was read.
    await house.ask()
    await house.recorder.flush()
    written, read = len(house.near.written), house.near.history

    async def erased_meanwhile(*asked):
        history = await read(*asked)
        house.recorder.forget("u")
        return history

    house.near.history = erased_meanwhile
    before = counted("dropped")
    answer = await house.ask()
    await house.recorder.flush()
    assert len(house.near.written) == written == 5
    assert counted("dropped") == before + len(answer.results) == before + 5
    house.near.history = read
    await house.ask()
    await house.recorder.flush()
    assert len(house.near.written) == written + 5
