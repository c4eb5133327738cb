"""The writer thread: takes what waits, writes it in one transaction, pays for one sync to the disk.

Many callers share a commit, so durability costs each of them little. An answer is given only after COMMIT.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
import time
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

import structlog

from services.ingestion.adapters.sqlite_errors import translated
from services.ingestion.adapters.sqlite_wal import WalEmptier
from shared.errors import Overloaded, ShuttingDown
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.ingestion.adapters.sqlite_writes import LogWriter

log = structlog.get_logger(__name__)

T = TypeVar("T")

MAX_GROUP_ROWS = 10_000
"""Rows of one commit: bounds how long the first of a group waits for the last."""


@dataclass(slots=True)
class _Job:
    work: Callable[[LogWriter], Any]
    rows: int
    empties_wal: bool
    future: Future[Any] = field(default_factory=Future)
    result: Any = None


class GroupCommitter:
    """Runs jobs on the writer thread, in the order they come.

    Args:
        connection: used by this thread only.
        writer: what jobs write through.
        max_queued_rows: rows that may wait, those in work included.
        on_commit: called on the writer thread after every commit with the end of the log.

    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        writer: LogWriter,
        *,
        max_queued_rows: int,
        on_commit: Callable[[int], None],
    ) -> None:
        self._connection = connection
        self._writer = writer
        self._max_queued_rows = max_queued_rows
        self._on_commit = on_commit
        self._wal = WalEmptier(connection)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._queued_rows = 0
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="ingestion-writer", daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[LogWriter], T], *, rows: int, empties_wal: bool = False) -> Future[T]:
        """Queues a job of about `rows` rows; the future is done when the job is durable.

        `empties_wal` also removes earlier copies of changed pages from the write-ahead log: before the future is
        done, or, when a reader is in the way, as soon as it is not.

        Raises:
            Overloaded: too many rows wait already.
            ShuttingDown: closed.

        """
        job = _Job(work, max(rows, 1), empties_wal)
        with self._lock:
            if self._closed:
                raise ShuttingDown("the event store is closing")
            if self._queued_rows + job.rows > self._max_queued_rows:
                raise Overloaded(f"{self._queued_rows} events and items wait to be written; retry later")
            self._queued_rows += job.rows
            self._jobs.put(job)
        return job.future

    def close(self) -> None:
        """Finishes what waits and ends the thread. Blocks."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        is_open = True
        while is_open:
            self._wal.attempt()
            group, is_open = self._next_group()
            # A caller that went away while it waited is dropped before its work is done.
            live = [job for job in group if job.future.set_running_or_notify_cancel()]
            if live:
                self._commit(live)
            with self._lock:
                self._queued_rows -= sum(job.rows for job in group)

    def _next_group(self) -> tuple[list[_Job], bool]:
        group: list[_Job] = []
        rows = 0
        job = self._next_job()
        while job is not None:
            group.append(job)
            rows += job.rows
            if rows >= MAX_GROUP_ROWS:
                return group, True
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return group, True
        return group, False

    def _next_job(self) -> _Job | None:
        while True:
            try:
                return self._jobs.get(timeout=self._wal.wait_s)
            except queue.Empty:
                self._wal.attempt()

    def _commit(self, group: list[_Job]) -> None:
        started = time.perf_counter()
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            done = [job for job in group if self._did(job)]
            self._connection.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 (whatever it is, every caller of the group must hear of it)
            self._undo(group, error)
            return
        metrics.COMMIT_SECONDS.observe(time.perf_counter() - started)
        self._on_commit(self._writer.sequence)
        if any(job.empties_wal for job in done):
            self._wal.ask()
            self._wal.attempt()
        for job in done:
            job.future.set_result(job.result)

    def _did(self, job: _Job) -> bool:
        """Runs one job in a savepoint, so that its failure is its own."""
        before = self._writer.sequence
        self._connection.execute("SAVEPOINT job")
        try:
            job.result = job.work(self._writer)
        except Exception as error:  # noqa: BLE001 (goes to the caller that waits for this job)
            job.future.set_exception(translated(error))
            # When the engine has undone the whole transaction itself (disk full), this raises, and the group fails.
            self._connection.execute("ROLLBACK TO job")
            self._connection.execute("RELEASE job")
            self._writer.sequence = before
            return False
        self._connection.execute("RELEASE job")
        return True

    def _undo(self, group: list[_Job], error: Exception) -> None:
        log.error("commit failed", exc_info=error)
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            self._writer.reload()
        except sqlite3.Error:
            log.exception("rollback failed")
        for job in group:
            if not job.future.done():
                job.future.set_exception(translated(error))
