"""Recommend end to end against a bare chain of two hops, in one run; what scoring takes with every fusion.

The chain is an echo that asks another echo, each a process of its own, with the server options and the 64 bytes of the
bare echo: the least that an answer costs which needs one neighbour. A second chain answers with as many bytes as
Recommend and, behind it, candidates do. Recommend is asked for 20 items of 300 candidates, for one user after another
in random order, by name, impressions aside; a last load records them, as callers do who leave that to the server.
Before the loads "as users call" each user has asked once: an answer is given again for a minute.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from fusionrec.candidates.v1 import candidates_service_pb2 as candidates_pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as candidates_grpc
from fusionrec.channel import connect_aio
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as pb_grpc

from benchmarks.candidates.serving import NO_ANSWERS, first_calls, shuffled
from benchmarks.echo import measure_chain
from benchmarks.loadgen import at_concurrencies, closed_loop, open_loop, ratios
from benchmarks.ranker.world import say

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.loadgen import Call
    from benchmarks.ranker.world import World

K, CANDIDATES = 20, 300
TIMEOUT_S = 10
SCORED_USERS = 200
LOADED = "concurrency 16"
COMPUTED, AS_CALLED, RECORDED = "every answer computed", "as users call", "as users call, impressions recorded"
NO_REPLIES = {"RANKER_REPLY_CACHE_S": "0"}


@dataclass(frozen=True)
class Asking:
    """Recommend for one user after the other; `stages` collects the microseconds of each stage.

    `degraded` counts the answers that a part of the work was left out of, by component.
    """

    stub: pb_grpc.RankerServiceAsyncStub
    users: Sequence[str]
    variant: str = ""
    record: bool = False
    stages: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    degraded: Counter[str] = field(default_factory=Counter)

    async def __call__(self, number: int) -> pb.RecommendResponse:
        """Makes one call."""
        context = pb.RankingContext(user_id=self.users[number % len(self.users)], variant=self.variant)
        request = pb.RecommendRequest(context=context, k=K, skip_impressions=not self.record)
        reply = await self.stub.Recommend(request, timeout=TIMEOUT_S)
        self.degraded.update(one.component for one in reply.degraded)
        for timing in reply.served_by.timings:
            self.stages[timing.stage].append(timing.compute_us)
        return reply

    def stage_us(self) -> dict[str, dict[str, int]]:
        """Returns the median and the 99th percentile of each stage."""
        return {
            stage: {"p50": int(np.percentile(times, 50)), "p99": int(np.percentile(times, 99))}
            for stage, times in self.stages.items()
        }


async def measure(world: World, seconds: float) -> dict[str, Any]:
    """Measures the chains and every load, `seconds` at each concurrency."""
    users, own = shuffled(world.data.users), {"RANKER_CANDIDATES": str(CANDIDATES)}
    say("serving: the bare chain")
    chain = await measure_chain(seconds)
    loads: dict[str, Any] = {}
    with world.served(NO_ANSWERS, {**own, **NO_REPLIES}) as served:
        say(f"serving: {COMPUTED}")
        loads[COMPUTED] = await _measure(served.ranker.address, users, seconds)
        inner = await _bytes_of_candidates(served.candidates.address, users[0])
        scoring = await _scoring(served.ranker.address, users)
    with world.served(ranker=own) as served:
        say("serving: the first call of each user")
        first = await _first(served.ranker.address, users)
        for name, record in ((AS_CALLED, False), (RECORDED, True)):
            say(f"serving: {name}")
            loads[name] = await _measure(served.ranker.address, users, seconds, record=record)
    say("serving: the chain with bytes like ours")
    sized = await measure_chain(seconds, reply=loads[COMPUTED]["reply_bytes"], inner_reply=inner)
    return {
        "chain": chain,
        "chain_sized": sized,
        "inner_reply_bytes": inner,
        "loads": loads,
        "first_call_of_a_user": first,
        "to_chain": {name: ratios(one["closed_loop"], chain) for name, one in loads.items()},
        "to_chain_sized": {name: ratios(one["closed_loop"], sized) for name, one in loads.items()},
        "scoring_us": scoring,
    }


async def _measure(address: str, users: Sequence[str], seconds: float, *, record: bool = False) -> dict[str, Any]:
    async with connect_aio(address) as channel:
        call = Asking(pb_grpc.RankerServiceStub(channel), users, record=record)
        reply = await call(0)
        closed = await at_concurrencies(call, seconds)
        half = closed[LOADED]["calls_per_s"] / 2
        opened = await open_loop(call, per_second=max(half, 1.0), seconds=seconds)
        call.stages.clear()
        await closed_loop(call, concurrency=1, seconds=min(seconds, 5.0))
    return {
        "reply_bytes": reply.ByteSize(),
        "candidates_scored": reply.candidates_scored,
        "closed_loop": closed,
        "open_loop_at_half": {"offered_per_s": round(half, 1), **opened.summary()},
        "stage_us": call.stage_us(),
        "degraded": dict(call.degraded),
    }


async def _first(address: str, users: Sequence[str]) -> dict[str, float]:
    async with connect_aio(address) as channel:
        return await first_calls(Asking(pb_grpc.RankerServiceStub(channel), users), len(users))


async def _bytes_of_candidates(address: str, user: str) -> int:
    async with connect_aio(address) as channel:
        request = candidates_pb.GetCandidatesRequest(user_id=user, k=CANDIDATES, by_column=True)
        reply = await candidates_grpc.CandidatesServiceStub(channel).GetCandidates(request, timeout=TIMEOUT_S)
        return int(reply.ByteSize())


async def _scoring(address: str, users: Sequence[str]) -> dict[str, Mapping[str, int]]:
    """Returns the times of the stage `score` (features, then the fusion) with each fusion, one call at a time."""
    async with connect_aio(address) as channel:
        stub = pb_grpc.RankerServiceStub(channel)
        info = await stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S)
        times: dict[str, Mapping[str, int]] = {}
        for fusion in info.fusions:
            say(f"serving: scoring with {fusion.name}")
            call = Asking(stub, users, fusion.name)
            await _one_by_one(call, SCORED_USERS // 10)
            call.stages.clear()
            await _one_by_one(call, SCORED_USERS)
            times[fusion.name] = call.stage_us()["score"]
    return times


async def _one_by_one(call: Call, count: int) -> None:
    for number in range(count):
        await call(number)
