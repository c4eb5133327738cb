"""The service under load, through gRPC and a client of its own process: bulk, single texts, many callers, overload."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from fusionrec.channel import channel_options
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from benchmarks.candidates.process import resident_mb
from shared.testing.processes import health_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.testing.processes import ServiceProcess

LIST = 500
AT_ONCE = 4
CALLERS = 64
ROUNDS = 3
OVERLOAD = 3
DEADLINE_S = 120.0


class Client:
    """Calls one service. The cache is off there, so that every text is computed."""

    def __init__(self, process: ServiceProcess) -> None:
        self._process = process
        # No retries: what is refused is to be counted.
        self._channel = grpc.aio.insecure_channel(process.address, channel_options(1))
        self._stub = rpc.EmbeddingServiceStub(self._channel)

    async def close(self) -> None:
        """Ends the channel."""
        await self._channel.close()

    async def vectors(self, texts: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float32]]:
        """Returns the vectors of some texts, (texts, dim)."""
        answers = [await self._embed(texts[start : start + LIST]) for start in range(0, len(texts), LIST)]
        return np.stack([np.frombuffer(one.vector.data, "<f4") for answer in answers for one in answer.embeddings])

    async def bulk(self, texts: Sequence[str]) -> float:
        """Returns the seconds for all texts in lists of `LIST`, a few lists at once; the best of some rounds."""
        lists = [texts[start : start + LIST] for start in range(0, len(texts), LIST)]
        return min([await self._all(lists) for _ in range(ROUNDS)])

    async def single_p50_ms(self, texts: Sequence[str]) -> float:
        """Returns the median time of one text at a time, milliseconds."""
        times = []
        for text in texts:
            started = time.perf_counter()
            await self._embed([text], pb.PRIORITY_INTERACTIVE)
            times.append((time.perf_counter() - started) * 1e3)
        return statistics.median(times)

    async def callers_texts_per_s(self, texts: Sequence[str], seconds: float) -> float:
        """Returns texts a second of `CALLERS` callers that each send one text after the other."""
        numbers, until = count(), time.perf_counter() + seconds
        started, done = time.perf_counter(), 0

        async def caller() -> None:
            nonlocal done
            while time.perf_counter() < until:
                await self._embed([texts[next(numbers) % len(texts)]], pb.PRIORITY_INTERACTIVE)
                done += 1

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return done / (time.perf_counter() - started)

    async def overload(self, texts: Sequence[str], peak_texts_per_s: float, seconds: float) -> dict[str, Any]:
        """Sends lists at `OVERLOAD` times the peak for a time, whatever the answers: an open loop."""
        size = 50
        before, outcomes, health = resident_mb(self._process.process.pid), Counter[str](), Counter[str]()
        started = time.perf_counter()
        calls: set[asyncio.Task[None]] = set()
        finished: list[float] = []

        async def call(part: Sequence[str]) -> None:
            try:
                await self._embed(part)
            except grpc.aio.AioRpcError as error:
                outcomes[error.code().name] += 1
            else:
                outcomes["OK"] += 1
                finished.append(time.perf_counter() - started)

        lists = self._endless(texts, size)
        next_health = 0.0
        for number in count():
            due = number * size / (OVERLOAD * peak_texts_per_s)
            if due > seconds:
                break
            await asyncio.sleep(max(due - (time.perf_counter() - started), 0))
            if time.perf_counter() - started > next_health:
                health[await asyncio.to_thread(health_of, self._process.address, "", 5.0)] += 1
                next_health += 5.0
            task = asyncio.create_task(call(next(lists)))
            calls.add(task)
            task.add_done_callback(calls.discard)
        during = sum(at <= seconds for at in finished) * size / seconds
        sent = sum(outcomes.values()) + len(calls)
        await asyncio.gather(*calls)
        return {
            "offered_texts_per_s": sent * size / seconds,
            "goodput_texts_per_s": during,
            "outcomes": dict(outcomes),
            "health": dict(health),
            "memory_before_mb": before,
            "memory_after_mb": resident_mb(self._process.process.pid),
        }

    def _endless(self, texts: Sequence[str], size: int) -> Iterator[Sequence[str]]:
        starts = range(0, max(len(texts) - size, 1), size)
        while True:
            for start in starts:
                yield texts[start : start + size]

    async def _all(self, lists: Sequence[Sequence[str]]) -> float:
        started = time.perf_counter()
        gate = asyncio.Semaphore(AT_ONCE)

        async def one(texts: Sequence[str]) -> None:
            async with gate:
                await self._embed(texts)

        await asyncio.gather(*(one(texts) for texts in lists))
        return time.perf_counter() - started

    async def _embed(
        self, texts: Sequence[str], priority: pb.Priority.ValueType = pb.PRIORITY_BULK
    ) -> pb.EmbedResponse:
        request = pb.EmbedRequest(texts=texts, priority=priority)
        response: pb.EmbedResponse = await self._stub.Embed(request, timeout=DEADLINE_S)
        return response
