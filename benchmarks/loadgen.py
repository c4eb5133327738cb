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

CONCURRENCIES = (1, 16)


@dataclass
class Result:
    """What came of a run. Latencies in seconds, of the calls that succeeded."""

    seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    begun: list[float] = field(default_factory=list)
    """When each of those calls was due, on the clock of `time.perf_counter`."""
    failures: Counter[str] = field(default_factory=Counter)

    @property
    def per_second(self) -> float:
        """Successful calls per second."""
        return len(self.latencies) / self.seconds

    async def timed(self, call: Call, number: int, since: float) -> None:
        """Makes a call that was due at `since` (`time.perf_counter`) and notes what came of it."""
        try:
            await call(number)
        except grpc.aio.AioRpcError as error:
            self.failures[error.code().name] += 1
        else:
            self.latencies.append(time.perf_counter() - since)
            self.begun.append(since)

    def percentile_ms(self, share: float) -> float:
        """Latency at this percentile, milliseconds; NaN without a successful call."""
        return float(np.percentile(self.latencies, share)) * 1e3 if self.latencies else float("nan")

    def between(self, start: float, end: float) -> Result:
        """Returns what came of the successful calls that were due in this time (`time.perf_counter`)."""
        chosen = [place for place, begun in enumerate(self.begun) if start <= begun < end]
        return Result(end - start, [self.latencies[one] for one in chosen], [self.begun[one] for one in chosen])

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
            await result.timed(call, next(numbers), time.perf_counter())

    await asyncio.gather(*(caller() for _ in range(concurrency)))
    result.seconds = time.perf_counter() - started
    return result


async def at_concurrencies(call: Call, seconds: float) -> dict[str, dict[str, float]]:
    """Returns the figures of a closed loop at each of `CONCURRENCIES`, after a warm-up."""
    await closed_loop(call, concurrency=4, seconds=min(seconds, 3.0))
    return {
        f"concurrency {n}": (await closed_loop(call, concurrency=n, seconds=seconds)).summary() for n in CONCURRENCIES
    }


def ratios(own: dict[str, dict[str, float]], yardstick: dict[str, dict[str, float]]) -> dict[str, dict[str, float]]:
    """Returns calls/s and p50 of `at_concurrencies` as multiples of another's."""
    return {
        load: {
            "calls_per_s": round(own[load]["calls_per_s"] / figures["calls_per_s"], 4),
            "p50": round(own[load]["p50_ms"] / figures["p50_ms"], 2),
        }
        for load, figures in yardstick.items()
    }


async def open_loop(
    call: Call, *, per_second: float, seconds: float, seed: int = 0, ended: Callable[[], bool] = lambda: False
) -> Result:
    """Starts calls at Poisson arrivals of rate `per_second`, whatever the answers do; waits for all of them.

    Latency counts from the planned arrival, not from when the loop got round to sending. It stops before `seconds`
    are over when `ended()` says so.
    """
    result = Result()
    rng = random.Random(seed)  # noqa: S311 (arrival times, not secrets)
    started = time.perf_counter()
    arrival = started
    tasks: list[asyncio.Task[None]] = []
    while (arrival := arrival + rng.expovariate(per_second)) < started + seconds and not ended():
        await asyncio.sleep(max(0.0, arrival - time.perf_counter()))
        tasks.append(asyncio.create_task(result.timed(call, len(tasks), arrival)))
    await asyncio.gather(*tasks)
    result.seconds = time.perf_counter() - started
    return result
