"""The service under load, through gRPC and a client of its own process: bulk, single texts, many callers."""

from __future__ import annotations

import asyncio
import statistics
import time
from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
from fusionrec.channel import channel_options
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.testing.processes import ServiceProcess

LIST = 500
AT_ONCE = 4
CALLERS = 64
ROUNDS = 3
ROUNDS_S = 20.0
"""No round is begun after so many seconds of them; the same for every engine (`rival.py`)."""
DEADLINE_S = 120.0


class Client:
    """Calls one service. The cache is off there, so that every text is computed."""

    def __init__(self, process: ServiceProcess) -> None:
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
        times: list[float] = []
        while len(times) < ROUNDS and sum(times) < ROUNDS_S:
            times.append(await self._all(lists))
        return min(times)

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
