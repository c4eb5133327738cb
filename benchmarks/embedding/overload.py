"""More texts than the service can compute, for a time, whatever it answers: an open loop that ends by the clock.

The lists come from processes of their own, as bytes made before and answers that are not read, since they share the
cores with the service. `offered` is what was really sent; all rates are divided by the time that really went by.

    python -m benchmarks.embedding.overload < PLAN     (one client: reads and prints JSON)
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import grpc
from fusionrec.channel import channel_options
from fusionrec.embedding.v1 import embedding_service_pb2 as pb

from benchmarks.candidates.process import resident_mb
from shared.testing.processes import health_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.testing.processes import ServiceProcess

OVERLOAD = 3.3
"""Times the peak that is offered: somewhat more than the three times of the target."""
CLIENTS = 2
LIST = 200
DEADLINE_S = 120.0
FILLING = 0.25
"""Share of the time that goodput leaves out: lists that wait advance side by side, so that hardly one is finished while
the queue fills. From then on as many texts are answered as computed."""
HEALTH_S = 5.0
SAMPLE_S = 1.0
_METHOD = f"/{pb.DESCRIPTOR.services_by_name['EmbeddingService'].full_name}/Embed"


async def overload(
    process: ServiceProcess, texts: Sequence[str], peak_texts_per_s: float, seconds: float
) -> dict[str, Any]:
    """Returns rates in texts/s, outcomes of calls by code, answers of the health service, and memory in MB."""
    before = resident_mb(process.process.pid)
    rate = OVERLOAD * peak_texts_per_s / CLIENTS
    plan = {"address": process.address, "texts": list(texts), "texts_per_s": rate, "seconds": seconds}
    watching = asyncio.create_task(_watch(process))
    clients = await asyncio.gather(*(_client(plan) for _ in range(CLIENTS)))
    watching.cancel()
    (watched,) = await asyncio.gather(watching)
    outcomes: Counter[str] = Counter()
    for one in clients:
        outcomes.update(one["outcomes"])
    return {
        "offered_texts_per_s": sum(one["offered_texts_per_s"] for one in clients),
        "goodput_texts_per_s": sum(one["goodput_texts_per_s"] for one in clients),
        "seconds": max(one["seconds"] for one in clients),
        "outcomes": dict(outcomes),
        "health": watched["health"],
        "memory_before_mb": before,
        "memory_peak_mb": max(watched["memory_mb"], default=before),
        "memory_samples": len(watched["memory_mb"]),
        "memory_after_mb": resident_mb(process.process.pid),
    }


async def _watch(process: ServiceProcess) -> dict[str, Any]:
    """Samples memory and health until it is cancelled."""
    memory: list[float] = []
    health: Counter[str] = Counter()
    started = time.monotonic()
    try:
        while True:
            memory.append(resident_mb(process.process.pid))
            if time.monotonic() - started >= HEALTH_S * health.total():
                health[await asyncio.to_thread(health_of, process.address, "", HEALTH_S)] += 1
            await asyncio.sleep(SAMPLE_S)
    except asyncio.CancelledError:
        return {"memory_mb": memory, "health": dict(health)}


async def _client(plan: dict[str, Any]) -> dict[str, Any]:
    command = (sys.executable, "-m", "benchmarks.embedding.overload")
    pipe = asyncio.subprocess.PIPE
    child = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    output, _ = await child.communicate(json.dumps(plan).encode())
    figures: dict[str, Any] = json.loads(output.splitlines()[-1])
    return figures


async def offer(plan: dict[str, Any]) -> dict[str, Any]:
    """Sends lists at a rate until the time is up, then waits for the answers that are still to come."""
    texts, rate, seconds = plan["texts"], plan["texts_per_s"], plan["seconds"]
    size = min(LIST, len(texts))
    lists = [texts[start : start + size] for start in range(0, len(texts) - size + 1, size)]
    requests = [pb.EmbedRequest(texts=one, priority=pb.PRIORITY_BULK).SerializeToString() for one in lists]
    outcomes: Counter[str] = Counter()
    finished: list[float] = []
    # No retries: what is refused is to be counted.
    async with grpc.aio.insecure_channel(plan["address"], channel_options(1)) as channel:
        await channel.channel_ready()
        embed: Any = channel.unary_unary(_METHOD)
        started = time.perf_counter()

        async def call(request: bytes) -> None:
            try:
                await embed(request, timeout=DEADLINE_S)
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            else:
                outcomes["OK"] += 1
                finished.append(time.perf_counter() - started)

        calls: list[asyncio.Task[None]] = []
        while (spent := time.perf_counter() - started) < seconds:
            # Whoever is late sends at once.
            await asyncio.sleep(min(max(len(calls) * size / rate - spent, 0), seconds - spent))
            if len(calls) * size / rate <= time.perf_counter() - started:
                calls.append(asyncio.create_task(call(requests[len(calls) % len(requests)])))
        elapsed = time.perf_counter() - started
        begin = FILLING * elapsed
        await asyncio.gather(*calls)
    return {
        "offered_texts_per_s": len(calls) * size / elapsed,
        "goodput_texts_per_s": sum(begin < at <= elapsed for at in finished) * size / (elapsed - begin),
        "seconds": elapsed,
        "outcomes": dict(outcomes),
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(offer(json.load(sys.stdin)))))
