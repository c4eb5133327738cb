"""An item is deleted and another added while 1,000 calls run: none fails, and both show within a second.

Time runs from the reply of the write to the first answer that shows it: the deleted item is gone from the candidates of
a user who had it, the new one, a title and a genre, is among those of a user who liked its kind.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.channel import connect_aio
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ingestion.v1 import ingestion_service_pb2_grpc as ingestion_grpc

from benchmarks.loadgen import Result

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.loadgen import Call

ROUNDS = 3
CALLS, CONCURRENCY, WRITE_AFTER = 1_000, 8, 200
PATIENCE_S = 10.0
LIKED = ("260", "1196", "1210", "1", "4886", "480")
NEW_TITLES = ("Star Wars: The Last Outpost", "Toy Story 5", "Jurassic World: Extinction")


async def measure(candidates: str, ingestion: str, call: Call) -> dict[str, Any]:
    """Returns the rounds; `call` is what runs meanwhile."""
    async with connect_aio(candidates) as to_candidates, connect_aio(ingestion) as to_ingestion:
        probe = _Probe(pb_grpc.CandidatesServiceStub(to_candidates), ingestion_grpc.IngestionServiceStub(to_ingestion))
        return {"rounds": [await _round(probe, call, NEW_TITLES[number]) for number in range(ROUNDS)]}


class _Probe:
    """A user of its own whose candidates show the two writes."""

    def __init__(
        self, candidates: pb_grpc.CandidatesServiceAsyncStub, ingestion: ingestion_grpc.IngestionServiceAsyncStub
    ) -> None:
        self._candidates = candidates
        self._ingestion = ingestion
        self._user = f"two-way-{uuid.uuid4().hex}"

    async def like(self) -> None:
        """Gives the user a history."""
        kind = event_pb2.EVENT_TYPE_LIKE
        likes = [event_pb2.Event(user_id=self._user, item_id=one, type=kind) for one in LIKED]
        await self._ingestion.WriteEvents(ingestion_pb.WriteEventsRequest(events=likes))

    async def items(self) -> list[str]:
        """Returns the user's candidates, the best first."""
        request = pb.GetCandidatesRequest(user_id=self._user, k=300, by_column=True)
        return list((await self._candidates.GetCandidates(request, timeout=10)).columns.item_ids)

    async def delete(self, item_id: str) -> float | None:
        """Deletes an item; returns the seconds from the reply until it is not among the candidates."""
        await self._ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id=item_id))
        return await self._until(lambda items: item_id not in items)

    async def add(self, title: str) -> float | None:
        """Adds an item; returns the seconds from the reply until it is among the candidates."""
        item = item_pb2.Item(item_id=f"two-way-{uuid.uuid4().hex}", title=title, categories=["Adventure"])
        await self._ingestion.UpsertItems(ingestion_pb.UpsertItemsRequest(items=[item]))
        return await self._until(lambda items: item.item_id in items)

    async def _until(self, holds: Callable[[list[str]], bool]) -> float | None:
        started = time.perf_counter()
        while time.perf_counter() - started < PATIENCE_S:
            if holds(await self.items()):
                return round(time.perf_counter() - started, 3)
            await asyncio.sleep(0.01)
        return None


async def _round(probe: _Probe, call: Call, title: str) -> dict[str, Any]:
    await probe.like()
    doomed = (await probe.items())[0]
    result = Result()
    numbers = iter(range(CALLS))
    begun = asyncio.Event()

    async def caller() -> None:
        for number in numbers:
            if number == WRITE_AFTER:
                begun.set()
            await result.timed(call, number, time.perf_counter())

    callers = asyncio.gather(*(caller() for _ in range(CONCURRENCY)))
    started = time.perf_counter()
    await begun.wait()
    deleted, added = await asyncio.gather(probe.delete(doomed), probe.add(title))
    both = time.perf_counter()
    await callers
    result.seconds = time.perf_counter() - started
    return {
        "calls": len(result.latencies) + sum(result.failures.values()),
        **result.summary(),
        "deleted_s": deleted,
        "added_s": added,
        "calls_still_running_when_both_showed": both < started + result.seconds,
    }
