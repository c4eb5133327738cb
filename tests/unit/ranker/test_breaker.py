"""The circuit breaker: opens for a neighbour that hangs, and closes by itself."""

from __future__ import annotations

import asyncio

import pytest

from services.ranker.guarded import GuardedCandidates
from services.ranker.pipeline.breaker import Breaker
from services.ranker.pipeline.sources.sources import Sources
from services.ranker.pipeline.timeouts import Timeouts
from shared.errors import DependencyUnavailable, ModelNotReady

from .house import named


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


class Neighbour:
    """Answers after `takes` seconds of the clock; hangs for its timeout when that is longer."""

    def __init__(self, clock):
        self.clock, self.takes, self.calls, self.error = clock, 0.0, 0, None

    async def ask(self, timeout_s=1.0):
        self.calls += 1
        self.clock.now += min(self.takes, timeout_s)
        if self.takes >= timeout_s:
            raise DependencyUnavailable("candidates", "its time ran out")
        if self.error:
            raise self.error
        return "answer"


@pytest.fixture
def world():
    clock = Clock()
    near = Neighbour(clock)
    return clock, near, Breaker("candidates", 1.0, failures=3, open_s=5.0, clock=clock)


async def hang(near, breaker, times, timeout_s=1.0):
    for _ in range(times):
        with pytest.raises(DependencyUnavailable):
            await breaker.call(lambda: near.ask(timeout_s))


async def test_it_opens_after_some_hanging_calls_and_then_costs_nothing(world):
    clock, near, breaker = world
    near.takes = 9
    await hang(near, breaker, 3)
    assert (breaker.is_open, near.calls, clock.now) == (True, 3, 3.0)
    with pytest.raises(DependencyUnavailable, match=r"it hung on 3 calls; it is asked again in 5\.0 s"):
        await breaker.call(near.ask)
    assert (near.calls, clock.now) == (3, 3.0)


async def test_one_probe_closes_it_or_leaves_it_open(world):
    clock, near, breaker = world
    near.takes = 9
    await hang(near, breaker, 3)
    clock.now += 5
    await hang(near, breaker, 2)
    assert near.calls == 4
    clock.now += 5
    near.takes = 0
    assert await breaker.call(near.ask) == "answer"
    assert not breaker.is_open


async def test_only_one_call_probes_at_a_time(world):
    clock, near, breaker = world
    near.takes = 9
    await hang(near, breaker, 3)
    clock.now += 6
    release = asyncio.Event()

    async def slow():
        await release.wait()
        return "answer"

    probe = asyncio.create_task(breaker.call(slow))
    await asyncio.sleep(0)
    with pytest.raises(DependencyUnavailable, match="being tried now"):
        await breaker.call(near.ask)
    probe.cancel()
    with pytest.raises(asyncio.CancelledError):
        await probe
    # A probe that is given up leaves room for the next.
    near.takes = 0
    assert await breaker.call(near.ask) == "answer"


async def test_success_between_refusals_and_impatient_callers_do_not_open_it(world):
    _, near, breaker = world
    for _ in range(5):
        near.takes = 9
        await hang(near, breaker, 2)
        near.takes = 0
        await breaker.call(near.ask)
    near.takes = 9
    await hang(near, breaker, 9, timeout_s=0.1)
    near.takes, near.error = 0, DependencyUnavailable("candidates", "not reachable")
    await hang(near, breaker, 9)
    near.error = ModelNotReady("none")
    for _ in range(9):
        with pytest.raises(ModelNotReady):
            await breaker.call(near.ask)
    assert not breaker.is_open


async def test_a_probe_that_says_nothing_is_followed_by_the_next(world):
    clock, near, breaker = world
    near.takes = 9
    await hang(near, breaker, 3)
    clock.now += 5
    await hang(near, breaker, 2, timeout_s=0.1)
    assert (near.calls, breaker.is_open) == (5, True)
    near.takes, near.error = 0, DependencyUnavailable("candidates", "not reachable")
    await hang(near, breaker, 2)
    assert (near.calls, breaker.is_open) == (7, True)
    near.error = None
    await breaker.call(near.ask)
    assert not breaker.is_open


async def test_none_with_zero_failures():
    clock = Clock()
    near = Neighbour(clock)
    near.takes = 9
    breaker = Breaker("candidates", 1.0, failures=0, open_s=5.0, clock=clock)
    await hang(near, breaker, 9)
    assert near.calls == 9


async def test_an_open_circuit_is_named_in_degraded(house):
    clock = Clock()
    breaker = Breaker("candidates", 1.0, failures=2, open_s=5.0, clock=clock)
    original, hanging = house.near.find, True

    async def find(query, timeout_s):
        if hanging:
            clock.now += timeout_s
            raise DependencyUnavailable("candidates", "its time ran out")
        return await original(query, timeout_s)

    house.near.find = find
    timeouts = Timeouts(1.0, 1.0, 1.0, 0.1, 0.6, lambda: None)
    object.__setattr__(house.recommender, "sources", Sources(GuardedCandidates(house.near, breaker), timeouts))
    for _ in range(2):
        await house.ask(k=3)
    waited = clock.now
    answer = await house.ask(k=3)
    assert clock.now == waited
    assert named(answer)["candidates"] == "text_only"
    assert "hung" in next(one.reason for one in answer.degraded if one.component == "candidates")
    hanging = False
    clock.now += 5
    assert "candidates" not in named(await house.ask(k=3))
