"""GetCandidates of the running service against the bare echo, in one run, on MovieLens, trained by the real job.

Users are asked about in random order, again and again: each is asked about by name, the service knows the histories.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.channel import connect_aio

from benchmarks.echo import measure_echo
from benchmarks.loadgen import Result, at_concurrencies, ratios

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.candidates.fleet import Fleet
    from benchmarks.loadgen import Call

TIMEOUT_S = 10
NO_ANSWERS = {"CANDIDATES_ANSWER_AGE_S": "0", "CANDIDATES_ANSWER_AGE_UNWRITTEN_S": "0"}


@dataclass(frozen=True)
class Load:
    """One kind of call: settings of the service and fields of the request."""

    settings: dict[str, str]
    k: int = 300
    sources: tuple[str, ...] = ()


LOADS = {
    "default settings": Load({}),
    "no kept answers": Load(NO_ANSWERS),
    "no kept answers, k = 100": Load(NO_ANSWERS, k=100),
    "no kept answers, als alone": Load(NO_ANSWERS, sources=("als",)),
}


def shuffled(users: Sequence[str], seed: int = 3) -> list[str]:
    """Returns the users in a random order that is always the same."""
    return random.Random(seed).sample(list(users), len(users))  # noqa: S311 (an order, not a secret)


def calls(stub: pb_grpc.CandidatesServiceAsyncStub, users: Sequence[str], load: Load) -> Call:
    """Returns the call of a load, one user after the other."""
    requests = [pb.GetCandidatesRequest(user_id=one, k=load.k, sources=load.sources, by_column=True) for one in users]

    async def call(number: int) -> pb.GetCandidatesResponse:
        return await stub.GetCandidates(requests[number % len(requests)], timeout=TIMEOUT_S)

    return call


async def measure(fleet: Fleet, users: Sequence[str], seconds: float) -> dict[str, Any]:
    """Measures the echo and every load, `seconds` at each concurrency; the version is trained already."""
    echo = await measure_echo(seconds)
    loads = {}
    for name, load in LOADS.items():
        with fleet.candidates(load.settings) as process:
            loads[name] = await _measure(process.address, shuffled(users), load, seconds)
    return {
        "echo": echo,
        "loads": loads,
        "to_echo": {name: ratios(one["closed_loop"], echo) for name, one in loads.items()},
    }


async def _measure(address: str, users: Sequence[str], load: Load, seconds: float) -> dict[str, Any]:
    async with connect_aio(address) as channel:
        call = calls(pb_grpc.CandidatesServiceStub(channel), users, load)
        first = await first_calls(call, len(users))
        closed = await at_concurrencies(call, seconds)
        reply = await pb_grpc.CandidatesServiceStub(channel).GetCandidates(
            pb.GetCandidatesRequest(user_id=users[0], k=load.k, sources=load.sources, by_column=True)
        )
    return {
        "k": load.k,
        "sources": [one.source for one in reply.sources if one.proposed],
        "reply_bytes": reply.ByteSize(),
        "first_call_of_a_user": first,
        "closed_loop": closed,
    }


async def first_calls(call: Call, users: int) -> dict[str, float]:
    """Returns latencies of the first call for each of so many users, one at a time."""
    result = Result()
    started = time.perf_counter()
    for number in range(users):
        await result.timed(call, number, time.perf_counter())
    result.seconds = time.perf_counter() - started
    return result.summary()
