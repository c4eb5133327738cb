"""Load on one stage: closed loop (a fixed number of callers) and open loop (arrivals that do not wait).

A closed loop measures capacity. An open loop measures what users see: a slow answer does not hold back the
next arrival, so queueing shows in the percentiles (no coordinated omission).
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import grpc.aio
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Call = Callable[[int], Awaitable[object]]
    """One call; the argument numbers it, to vary the request."""


@dataclass
class Result:
    """What came of a run. Latencies in seconds, of the calls that succeeded."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Successful calls per second."""
        return len(self.latencies) / self.seconds

    def percentile_ms(self, share: float) -> float:
        """Latency at this percentile, milliseconds; NaN without a successful call."""
        return float(np.percentile(self.latencies, share)) * 1e3 if self.latencies else float("nan")

    def summary(self) -> dict[str, float]:
        """Figures for a table."""
        return {
            "calls_per_s": round(self.per_second, 1),
            "p50_ms": round(self.percentile_ms(50), 3),
            "p99_ms": round(self.percentile_ms(99), 3),
            "failed": sum(self.failures.values()),
        }


async def closed_loop(call: Call, *, concurrency: int, seconds: float) -> Result:
    """Keeps `concurrency` calls under way for `seconds`."""
    result = Result()
    started = time.perf_counter()
    end = started + seconds
    numbers = iter(range(1 << 62))

    async def caller() -> None:
        while time.perf_counter() < end:
            await _timed(call, next(numbers), time.perf_counter(), result)

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    result.seconds = time.perf_counter() - started
    return result


async def open_loop(call: Call, *, per_second: float, seconds: float, seed: int = 0) -> Result:
    """Starts calls at Poisson arrivals of rate `per_second`, whatever the answers do; waits for all of them.

    Latency counts from the planned arrival, not from when the loop got round to sending.
    """
    result = Result()
    rng = random.Random(seed)  # noqa: S311 (arrival times, not secrets)
    started = time.perf_counter()
    arrival = started
    tasks: list[asyncio.Task[None]] = []
    while (arrival := arrival + rng.expovariate(per_second)) < started + seconds:
        await asyncio.sleep(max(0.0, arrival - time.perf_counter()))
        tasks.append(asyncio.create_task(_timed(call, len(tasks), arrival, result)))
    await asyncio.gather(*tasks)
    result.seconds = time.perf_counter() - started
    return result


async def _timed(call: Call, number: int, since: float, result: Result) -> None:
    try:
        await call(number)
    except grpc.aio.AioRpcError as error:
        result.failures[error.code().name] += 1
    else:
        result.latencies.append(time.perf_counter() - since)
