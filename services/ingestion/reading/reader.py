"""Replays the log and follows it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from collections.abc import Set as AbstractSet

    from services.ingestion.ports import EventLog, Stretch
    from shared.data.nouns import EventType


class LogReader:
    """Reads the log for streams; `stopping` ends the streams that follow.

    Stretches are read when the consumer asks for the next one: a slow consumer makes the log wait, not grow.
    """

    def __init__(self, log: EventLog, stopping: asyncio.Event) -> None:
        self._log = log
        self._stopping = stopping

    async def read(
        self, position: int, *, follow: bool, limit: int, exclude: AbstractSet[EventType]
    ) -> AsyncIterator[Stretch]:
        """Yields the log after `position`; the last stretch, or with `follow` each that catches up, has `at_end`.

        Only the first stretch that reaches the end may be without records: it tells a follower that it has
        read everything. Later appends of excluded types are passed over in silence.
        """
        said_at_end = False
        while not (follow and self._stopping.is_set()):
            stretch = await self._log.read(position, limit, exclude)
            position = stretch.position
            if stretch.records or (stretch.at_end and not said_at_end):
                said_at_end = said_at_end or stretch.at_end
                yield stretch
            if stretch.at_end:
                if not follow:
                    return
                await self._growth(position)

    async def _growth(self, position: int) -> None:
        waits = [
            asyncio.ensure_future(self._log.wait_beyond(position)),
            asyncio.ensure_future(self._stopping.wait()),
        ]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
