"""Empties the write-ahead log after an erasure: earlier copies of changed pages stay in it until then."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

import structlog

from services.ingestion.adapters.sqlite_schema import BUSY_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

PATIENCE_MS = 100
"""How long one attempt waits for readers, milliseconds: the writer stands still meanwhile."""
RETRY_S = 1.0
REMIND_S = 60.0


class WalEmptier:
    """Truncates the write-ahead log when asked to; as long as a reader's snapshot is in the way, again and again.

    Asked once by itself at the start: the process before may have been killed while an erasure was pending. Used by
    the writer thread only, between transactions.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], float] = time.monotonic) -> None:
        self._connection = connection
        self._clock = clock
        self._asked_at = 0.0
        self._remind_at = 0.0
        self._due_at: float | None = None
        self.ask()

    def ask(self) -> None:
        """From now on the log is to be emptied."""
        if self._due_at is None:
            self._asked_at = self._remind_at = self._clock()
        self._due_at = self._clock()

    @property
    def wait_s(self) -> float | None:
        """Seconds until the next attempt; None when nothing is pending."""
        return None if self._due_at is None else max(0.0, self._due_at - self._clock())

    def attempt(self) -> None:
        """Tries, if that is due."""
        if self._due_at is None or self._clock() < self._due_at:
            return
        reason = self._truncate()
        now = self._clock()
        if not reason:
            if self._remind_at > self._asked_at:
                log.info("the write-ahead log was emptied", after_s=round(now - self._asked_at, 1))
            self._due_at = None
            return
        self._due_at = now + RETRY_S
        if now >= self._remind_at:
            self._remind_at = now + REMIND_S
            pending_s = round(now - self._asked_at, 1)
            log.warning(
                "erased events are still in the write-ahead log; it is tried again", reason=reason, pending_s=pending_s
            )

    def _truncate(self) -> str:
        """Returns why it did not succeed; empty when it did."""
        try:
            self._connection.execute(f"PRAGMA busy_timeout = {PATIENCE_MS}")
            try:
                busy, _, _ = self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            finally:
                self._connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT_S * 1000)}")
        except sqlite3.Error as error:
            return str(error)
        return "a reader is in the way" if busy else ""
