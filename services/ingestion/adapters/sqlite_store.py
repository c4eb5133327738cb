"""The embedded engine: one SQLite file, one writer thread with group commit, a pool of reader threads."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import IO, TYPE_CHECKING, ParamSpec, TypeVar

from services.ingestion.adapters.recent_changes import RecentChanges
from services.ingestion.adapters.sqlite_commits import GroupCommitter
from services.ingestion.adapters.sqlite_errors import COMPONENT, translated
from services.ingestion.adapters.sqlite_reads import Reader
from services.ingestion.adapters.sqlite_schema import open_reader, open_writer, read_log_id
from services.ingestion.adapters.sqlite_writes import LogWriter
from services.ingestion.ports import (
    Appended,
    Deleted,
    Erasure,
    StoreStats,
    StoreUnusable,
    Stretch,
    Upserted,
    UserHistory,
)
from shared.data.nouns import EventType
from shared.errors import DependencyUnavailable, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime
    from pathlib import Path

    from shared.data.nouns import Event, Item

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """Implements `ports.Store` on one file; used from one event loop, which it never blocks.

    Args:
        path: the database file; its folder is made.
        max_queued_rows: events and items that may wait to be written.
        reader_threads: reads that run at once.

    """

    engine = "sqlite"

    def __init__(self, path: Path, *, max_queued_rows: int = 100_000, reader_threads: int = 4) -> None:
        self._path = path
        self._max_queued_rows = max_queued_rows
        self._log_id = ""
        self._end = 0
        self._changes = RecentChanges()
        self._grown = asyncio.Event()
        self._closing = False
        self._lock_file: IO[bytes] | None = None
        self._connection: sqlite3.Connection | None = None
        self._committer: GroupCommitter | None = None
        self._readers: list[Reader] = []
        self._own = threading.local()
        self._pool = ThreadPoolExecutor(reader_threads, thread_name_prefix="ingestion-reader")

    @property
    def log_id(self) -> str:
        """Identity of this log."""
        if not self._log_id:
            raise _not_open()
        return self._log_id

    @property
    def end(self) -> int:
        """Sequence of the last durable record."""
        return self._end

    async def open(self) -> None:
        """Opens or creates the file; see `ports.Store.open`."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._open, loop)

    async def close(self) -> None:
        """Finishes accepted writes and closes."""
        self._closing = True
        self._grown.set()
        await asyncio.to_thread(self._close)

    async def append_events(self, events: Sequence[Event]) -> Appended:
        """Appends events with new ids."""

        def work(writer: LogWriter) -> Appended:
            appended = writer.append_events(events)
            # Impressions are in no history that asks for what is known.
            users = (event.user_id for event in events if event.type is not EventType.IMPRESSION)
            self._changes.note(users, writer.sequence)
            return appended

        return await self._write(len(events), work)

    async def upsert_items(self, items: Sequence[Item]) -> Upserted:
        """Writes items."""
        return await self._write(len(items), lambda writer: writer.upsert_items(items))

    async def delete_item(self, item_id: str) -> Deleted:
        """Deletes an item."""
        return await self._write(1, lambda writer: writer.delete_item(item_id))

    async def forget_user(self, user_id: str) -> Erasure:
        """Erases a user's events; from the write-ahead log as soon as no reader is in the way."""

        def work(writer: LogWriter) -> Erasure:
            erasure = writer.forget_user(user_id)
            self._changes.note([user_id], writer.sequence)
            return erasure

        return await self._write(1, work, empties_wal=True)

    async def read(self, after: int, limit: int, exclude: AbstractSet[EventType]) -> Stretch:
        """Reads a stretch of the log."""
        return await self._read(Reader.read_log, after, limit, exclude)

    async def wait_beyond(self, position: int) -> None:
        """Waits until the log has grown beyond `position`."""
        while self._end <= position:
            if self._closing:
                raise ShuttingDown("the event store is closing")
            await self._grown.wait()

    async def get_items(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Reads items by id."""
        return await self._read(Reader.get_items, item_ids)

    async def list_items(self, after: str, limit: int) -> tuple[list[Item], bool]:
        """Reads a page of the catalogue."""
        return await self._read(Reader.list_items, after, limit)

    async def user_history(
        self,
        user_id: str,
        *,
        limit: int,
        types: AbstractSet[EventType],
        before: datetime | None,
        known: int | None = None,
    ) -> UserHistory:
        """Reads the newest events of a user, or tells that what is `known` still holds."""
        # The end first: what is committed up to it was noted before.
        end = self._end
        if known is not None and EventType.IMPRESSION not in types and self._changes.none_since(user_id, known):
            self._check_open()
            return UserHistory([], 0, end, unchanged=True)
        return await self._read(Reader.user_history, user_id, limit, types, before)

    async def stats(self) -> StoreStats:
        """Reads the counts."""
        return await self._read(Reader.stats)

    def _open(self, loop: asyncio.AbstractEventLoop) -> None:
        connection = None
        try:
            self._lock()
            connection = open_writer(self._path)
            self._log_id = read_log_id(connection)
            writer = LogWriter(connection)
        except (StoreUnusable, sqlite3.Error) as error:
            if connection is not None:
                connection.close()
            self._unlock()
            if isinstance(error, StoreUnusable):
                raise
            raise StoreUnusable(f"cannot read {self._path}: {error}; restore it from a backup") from error
        self._connection = connection
        self._end = writer.sequence
        self._changes = RecentChanges(self._end)

        def on_commit(end: int) -> None:
            self._end = end
            loop.call_soon_threadsafe(self._wake)

        self._committer = GroupCommitter(connection, writer, max_queued_rows=self._max_queued_rows, on_commit=on_commit)

    def _wake(self) -> None:
        grown, self._grown = self._grown, asyncio.Event()
        grown.set()

    def _close(self) -> None:
        if self._committer is not None:
            self._committer.close()
        self._pool.shutdown()
        for reader in self._readers:
            reader.close()
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("PRAGMA optimize")
            # The last connection to close folds the write-ahead log into the file.
            self._connection.close()
        self._unlock()

    def _lock(self) -> None:
        """Two servers on one file would give out the same sequence numbers; the lock ends with the process."""
        place = self._path.with_name(self._path.name + ".lock")
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            self._lock_file = place.open("ab")
        except OSError as error:
            raise StoreUnusable(f"cannot open {place}: {error.strerror}; check the folder and its owner") from error
        try:
            fcntl.flock(self._lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreUnusable(f"another server uses {self._path}; stop it, or name another file") from error

    def _unlock(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()
            self._lock_file = None

    def _check_open(self) -> GroupCommitter:
        if self._closing:
            raise ShuttingDown("the event store is closing")
        if self._committer is None:
            raise _not_open()
        return self._committer

    async def _write(self, rows: int, work: Callable[[LogWriter], T], *, empties_wal: bool = False) -> T:
        future = self._check_open().submit(work, rows=rows, empties_wal=empties_wal)
        return await asyncio.wrap_future(future)

    async def _read(self, work: Callable[..., T], *args: object) -> T:
        self._check_open()
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._run_read, work, args)

    def _run_read(self, work: Callable[..., T], args: tuple[object, ...]) -> T:
        try:
            return work(self._reader(), *args)
        except sqlite3.Error as error:
            raise translated(error) from error

    def _reader(self) -> Reader:
        """Returns the reader of the running thread, opened on its first use."""
        reader: Reader | None = getattr(self._own, "reader", None)
        if reader is None:
            reader = self._own.reader = Reader(open_reader(self._path))
            self._readers.append(reader)
        return reader


def _not_open() -> DependencyUnavailable:
    return DependencyUnavailable(COMPONENT, "it is not open; the server's log has the reason")
