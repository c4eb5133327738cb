"""Impressions: written to ingestion after the reply, from a bounded queue, by one background task."""

from __future__ import annotations

import asyncio
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


class ImpressionRecorder:
    """Takes impressions without waiting; past `capacity` they are dropped and counted."""

    def __init__(self, writer: ImpressionWriter, *, capacity: int) -> None:
        self._writer = writer
        self._capacity = capacity
        self._queue: deque[Event] = deque()
        self._wake = asyncio.Event()

    def put(self, user_id: str, results: Sequence[Result]) -> None:
        """Queues one impression per result; the token doubles as event id, so that a retry stores it once."""
        now = datetime.now(UTC)
        room = self._capacity - len(self._queue)
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
                )
            )
        dropped = len(results) - max(min(room, len(results)), 0)
        if dropped:
            metrics.IMPRESSIONS.labels("dropped").inc(dropped)
        self._wake.set()

    async def run(self) -> None:
        """Writes what is queued until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.flush()

    async def flush(self) -> None:
        """Writes all that is queued now."""
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(len(self._queue), MAX_WRITE_BATCH))]
            await self._write(batch)

    async def _write(self, batch: list[Event]) -> None:
        for attempt in range(ATTEMPTS):
            try:
                written = await self._writer.write(batch, WRITE_TIMEOUT_S)
            except FusionrecError as error:
                log.info("impressions wait", impressions=len(batch), attempt=attempt + 1, reason=error.message)
                await asyncio.sleep(RETRY_S * 2**attempt)
                continue
            metrics.IMPRESSIONS.labels("written").inc(written)
            return
        metrics.IMPRESSIONS.labels("lost").inc(len(batch))
