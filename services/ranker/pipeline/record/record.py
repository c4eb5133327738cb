"""Impressions: written to ingestion after the reply, from a bounded queue, by one background task."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import structlog

from shared.data.limits import MAX_WRITE_BATCH
from shared.data.nouns import Event, EventType
from shared.errors import FusionrecError
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.nouns import Result
    from services.ranker.ports import ImpressionWriter

log = structlog.get_logger(__name__)

STAGE = "record"
WRITE_TIMEOUT_S = 5.0
ATTEMPTS = 3
RETRY_S = 0.2


def token(recommendation_id: str, position: int) -> str:
    """Returns the attribution token of a result."""
    return f"{recommendation_id}.{position}"


def recommendation_of(attribution_token: str) -> str:
    """Returns the recommendation's id of the token of one of its results; empty when it is no such token."""
    return attribution_token.rpartition(".")[0]


class ImpressionRecorder:
    """Takes impressions without waiting; past `capacity` they are dropped and counted.

    So are those of calls that were under way when a user was erased: theirs may be among them. `mark` is taken before a
    call reads the history, and given back with its impressions.
    """

    def __init__(self, writer: ImpressionWriter, *, capacity: int) -> None:
        self._writer = writer
        self._capacity = capacity
        self._queue: deque[Event] = deque()
        self._writing: list[Event] = []
        self._wake = asyncio.Event()
        self._forgotten = 0

    @property
    def mark(self) -> int:
        """How many users were erased so far: names nobody, and tells a call that one was while it ran."""
        return self._forgotten

    def put(self, user_id: str, results: Sequence[Result], mark: int) -> None:
        """Queues one impression per result; the token doubles as event id, so that a retry stores it once.

        `mark` is that from before the history was read.
        """
        now = datetime.now(UTC)
        room = max(self._capacity - len(self._queue), 0) if mark == self._forgotten else 0
        for result in results[:room]:
            self._queue.append(
                Event(
                    event_id=result.attribution_token,
                    user_id=user_id,
                    item_id=result.item_id,
                    type=EventType.IMPRESSION,
                    timestamp=now,
                    attribution_token=result.attribution_token,
                    position=result.position,
                    propensity=result.propensity,
                )
            )
        dropped = max(len(results) - room, 0)
        if dropped:
            metrics.IMPRESSIONS.labels("dropped").inc(dropped)
        self._wake.set()

    def forget(self, user_id: str) -> None:
        """Drops what waits of a user, who was erased, and what calls that are under way are going to put."""
        self._forgotten += 1
        self._queue = deque(event for event in self._queue if event.user_id != user_id)
        self._writing = [event for event in self._writing if event.user_id != user_id]

    async def run(self) -> None:
        """Writes what is queued until cancelled. Called again, it begins with what waits."""
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Writes all that is queued now; when it is cancelled, what was not written waits again."""
        while self._queue:
            self._writing = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_WRITE_BATCH))]
            try:
                await self._write()
            except asyncio.CancelledError:
                # Also when it has arrived unheard: the event ids let it be stored once.
                self._queue.extendleft(reversed(self._writing))
                raise
            except Exception:
                metrics.IMPRESSIONS.labels("lost").inc(len(self._writing))
                raise
            finally:
                self._writing = []

    async def close(self, within_s: float) -> None:
        """Writes what waits, for at most `within_s` seconds; what is left then is dropped and counted."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.flush()
        if self._queue:
            log.warning("impressions were dropped at the end", impressions=len(self._queue))
            metrics.IMPRESSIONS.labels("dropped").inc(len(self._queue))
            self._queue.clear()

    async def _write(self) -> None:
        for attempt in range(ATTEMPTS):
            if not self._writing:
                return
            try:
                written = await self._writer.write(self._writing, WRITE_TIMEOUT_S)
            except FusionrecError as error:
                log.info("impressions wait", impressions=len(self._writing), attempt=attempt + 1, reason=error.message)
                await asyncio.sleep(RETRY_S * 2**attempt)
                continue
            metrics.IMPRESSIONS.labels("written").inc(written)
            return
        metrics.IMPRESSIONS.labels("lost").inc(len(self._writing))
