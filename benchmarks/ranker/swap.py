"""Ranker versions swapped under calls: several in a row, then one command back; against the same load without.

What is published are copies of the current version under new names: a swap without a training on the same cores.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import time
from typing import TYPE_CHECKING, Any

from fusionrec.channel import connect_aio
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as pb_grpc

from benchmarks.candidates.serving import shuffled
from benchmarks.candidates.writes import republish
from benchmarks.loadgen import closed_loop, open_loop
from benchmarks.ranker.serving import AS_CALLED, COMPUTED, TIMEOUT_S, K
from benchmarks.ranker.world import run, say
from services.ranker.models.model import KIND
from shared.artifacts import ArtifactStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.loadgen import Result
    from benchmarks.ranker.world import World

SHARE_OF_CAPACITY = 1 / 3
"""Of the calls that can be answered when each is computed."""
SWAPS, GAP_S = 5, 2.0
SWAP_WITHIN_S = 30.0
LONGEST_S = 300.0


class _Asking:
    """Recommend for one user after the other; notes when the first answer came of each version.

    With `computed` each call excludes another item, which there is not: no kept answer can serve it.
    """

    def __init__(self, stub: pb_grpc.RankerServiceAsyncStub, users: Sequence[str], *, computed: bool) -> None:
        self._stub = stub
        self._users = users
        self._numbers: Iterator[int] | None = itertools.count() if computed else None
        self.versions: dict[str, float] = {}
        self.newest = ""

    async def __call__(self, number: int) -> object:
        context = pb.RankingContext(user_id=self._users[number % len(self._users)])
        request = pb.RecommendRequest(context=context, k=K, skip_impressions=True)
        if self._numbers is not None:
            request.filter.exclude_item_ids.append(f"none-{next(self._numbers)}")
        reply = await self._stub.Recommend(request, timeout=TIMEOUT_S)
        self.newest = next(one.version for one in reply.served_by.models if one.kind == KIND)
        self.versions.setdefault(self.newest, time.perf_counter())
        return reply

    async def answered_by(self, version: str) -> float:
        """Waits until a call is answered by this version; returns the time of the first such answer.

        Raises:
            RuntimeError: none is within `SWAP_WITHIN_S`.

        """
        until = time.perf_counter() + SWAP_WITHIN_S
        while self.newest != version:
            if time.perf_counter() > until:
                raise RuntimeError(f"version {version} was published and not taken over within {SWAP_WITHIN_S:g} s")
            await asyncio.sleep(0.01)
        return time.perf_counter()


async def measure(world: World, seconds: float) -> dict[str, Any]:
    """Measures both loads, quiet and while versions are swapped; leaves the versions as they were."""
    store = ArtifactStore(str(world.artifacts))
    before, current = set(store.versions(KIND)), str(store.current(KIND))
    users = shuffled(world.data.users)
    try:
        with world.served() as served:
            async with connect_aio(served.ranker.address) as channel:
                stub = pb_grpc.RankerServiceStub(channel)
                computed = _Asking(stub, users, computed=True)
                await closed_loop(computed, concurrency=4, seconds=min(seconds, 3.0))
                capacity = (await closed_loop(computed, concurrency=16, seconds=min(seconds, 5.0))).per_second
                rate = max(capacity * SHARE_OF_CAPACITY, 1.0)
                loads = {}
                for name in (COMPUTED, AS_CALLED):
                    call = _Asking(stub, users, computed=name == COMPUTED)
                    loads[name] = await _under_swaps(world, call, name, rate, seconds)
    finally:
        store.set_current(KIND, current)
        for version in set(store.versions(KIND)) - before:
            store.delete(KIND, version)
    return {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(rate, 1),
        "swaps": SWAPS,
        "loads": loads,
    }


async def _under_swaps(world: World, call: _Asking, name: str, rate: float, seconds: float) -> dict[str, Any]:
    say(f"swap: quiet, {name}")
    first = await open_loop(call, per_second=rate, seconds=seconds)
    say(f"swap: {SWAPS} swaps and a roll-back, {name}")
    swapping = asyncio.create_task(_swap(world, call))
    swapped = await open_loop(call, per_second=rate, seconds=LONGEST_S, seed=1, ended=swapping.done)
    taken = await swapping
    say(f"swap: quiet again, {name}")
    last = await open_loop(call, per_second=rate, seconds=seconds, seed=2)
    quiet = _joined(first, last)
    return {
        "quiet": _figures(quiet),
        "swaps": _figures(swapped),
        "p99_to_quiet": round(swapped.percentile_ms(99) / quiet.percentile_ms(99), 2),
        "published_to_first_answer_s": taken,
        "versions": len(call.versions),
    }


async def _swap(world: World, call: _Asking) -> dict[str, list[float]]:
    """Publishes `SWAPS` versions, each when the one before answers, then goes back by the command."""
    taken: dict[str, list[float]] = {"swaps": [], "roll_back": []}
    store = ArtifactStore(str(world.artifacts))
    for _ in range(SWAPS):
        await asyncio.sleep(GAP_S)
        published = await asyncio.to_thread(republish, str(world.artifacts), KIND)
        version = str(await asyncio.to_thread(store.current, KIND))
        taken["swaps"].append(round(await call.answered_by(version) - published, 2))
    await asyncio.sleep(GAP_S)
    environment = {**os.environ, "RANKER_ARTIFACTS": str(world.artifacts)}
    await asyncio.to_thread(run, "services.ranker", ["rollback"], environment)
    asked = time.perf_counter()
    version = str(await asyncio.to_thread(store.current, KIND))
    taken["roll_back"].append(round(await call.answered_by(version) - asked, 2))
    await asyncio.sleep(GAP_S)
    return taken


def _joined(first: Result, last: Result) -> Result:
    first.latencies += last.latencies
    first.begun += last.begun
    first.failures += last.failures
    first.seconds += last.seconds
    return first


def _figures(result: Result) -> dict[str, float]:
    return {"calls": len(result.latencies), **result.summary()}
