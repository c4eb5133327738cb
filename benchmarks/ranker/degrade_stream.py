"""An open stream of Recommend calls, and what their replies say of neighbours that are down."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Self

import grpc.aio
from fusionrec.channel import connect_aio
from fusionrec.common.v1 import item_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as ranker_grpc

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType

K = 10
DEADLINE_S = 5.0
"""Deadline of a call, seconds."""
PATIENCE_S = 120.0
CALM_S = 1.0
"""Nothing is degraded any more when no reply to a call of this long said so, seconds."""


@dataclass(frozen=True)
class Reply:
    """What came of one call: when it was due and when it ended (`time.perf_counter`), the status of a failure."""

    due: float
    ended: float
    failure: str = ""
    degraded: tuple[tuple[str, str], ...] = ()
    """Component and fall-back of what the reply names."""
    reasons: tuple[str, ...] = ()
    """What it says of why, by component."""

    @property
    def named(self) -> dict[str, str]:
        """What the reply names, by component."""
        return dict(self.degraded)


@dataclass
class Stream:
    """Recommend calls at Poisson arrivals that do not wait for answers; a context manager that runs them."""

    ranker: str
    users: Sequence[str]
    per_second: float
    deadline_s: float = DEADLINE_S
    replies: list[Reply] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self._channel = connect_aio(self.ranker)
        self._stub = ranker_grpc.RankerServiceStub(self._channel)
        self._came = asyncio.Event()
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._running
        await self._channel.close()

    async def until(self, holds: Callable[[], bool], within_s: float = PATIENCE_S) -> bool:
        """Waits until something holds of the replies; returns whether it did in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not holds():
                    self._came.clear()
                    await self._came.wait()
        return holds()

    @staticmethod
    def now() -> float:
        """Returns the time on the clock of the replies, seconds."""
        return time.perf_counter()

    def tail(self) -> list[Reply]:
        """Returns the last replies, for a message."""
        return self.replies[-5:]

    def since(self, moment: float) -> list[Reply]:
        """Returns the replies to calls that were due from a moment on."""
        return [one for one in self.replies if one.due >= moment]

    def named_at(self, wanted: Mapping[str, str], since: float) -> float | None:
        """Returns when the first reply to a call after `since` named just what is wanted; None: none did."""
        ends = [one.ended for one in self.since(since) if one.named == wanted]
        return min(ends, default=None)

    def calm_at(self, since: float) -> float | None:
        """Returns when the calls began from which on nothing is named or fails; None: that is not `CALM_S` ago."""
        replies = self.since(since)
        last = max((one.due for one in replies if one.degraded or one.failure), default=since)
        clean = [one.due for one in replies if one.due > last]
        return min(clean) if clean and max(clean) - last >= CALM_S else None

    async def _run(self) -> None:
        rng = random.Random(0)  # noqa: S311 (arrival times, not secrets)
        due, number = time.perf_counter(), 0
        async with asyncio.TaskGroup() as calls:
            while True:
                due += rng.expovariate(self.per_second)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))
                calls.create_task(self._one(self.users[number % len(self.users)], due))
                number += 1

    async def _one(self, user: str, due: float) -> None:
        self.replies.append(await self._call(user, due))
        self._came.set()

    async def _call(self, user: str, due: float) -> Reply:
        request = pb.RecommendRequest(
            context=pb.RankingContext(user_id=user),
            k=K,
            filter=item_pb2.ItemFilter(exclude_item_ids=[uuid.uuid4().hex]),
            skip_impressions=True,
        )
        try:
            answer = await self._stub.Recommend(request, timeout=self.deadline_s)
        except grpc.aio.AioRpcError as error:
            return Reply(due, time.perf_counter(), error.code().name)
        named = tuple((one.component, one.fallback) for one in answer.degraded)
        failure = "" if answer.results else f"EMPTY: {answer.empty_reason}"
        reasons = tuple(f"{one.component}: {one.reason}" for one in answer.degraded)
        return Reply(due, time.perf_counter(), failure, named, reasons)
