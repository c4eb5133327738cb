"""Vectors kept over restarts, in one SQLite file.

SQLite because it is in Python, is kept well, and its write-ahead log survives a kill at any moment. What it does not
find itself, a page that changed on the disk, a checksum of every entry does. The file is a cache: when it is damaged,
it is set aside (`.damaged`, one at most) and begun anew.
"""

from __future__ import annotations

import sqlite3
import struct
import threading
import zlib
from pathlib import Path
from queue import Empty, Queue
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.embedding.cache.lru import TextVector

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

log = structlog.get_logger(__name__)

_APPLICATION = 0x46757356
"""SQLite's mark of whose file it is: another application's is never touched."""
_FORMAT = 1
_DAMAGES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BASIC_CODE = 0xFF
_FACTS = struct.Struct("<IBf")
"""Tokens, truncated, unknown share; the vector follows as little-endian float32."""
_PAGE = 4_096
_MB = 1 << 20
_QUEUED = 8_192
"""Entries that may wait for the disk, of as many calls as they come from; more are not kept."""
_TOGETHER = 100
"""Entries of one commit at most."""
_DROP = 0.1
"""Share of the entries that goes when the file is full."""
_SQL_VARIABLES = 500


class VectorFile:
    """`VectorStore` in the file `path`, at most `limit_mb` large (and a write-ahead log of a few MB beside it).

    Written by a thread of its own, so that no call waits for the disk: what a kill catches in its queue is computed
    again. Look-ups have a connection of their own, which reads beside the writer's commits. When the file is full,
    the entries written first go. One process at a time.
    """

    def __init__(self, path: str, limit_mb: int) -> None:
        self._path = Path(path).expanduser()
        self._pages = max(limit_mb * _MB // _PAGE, 64)
        # Whoever needs both takes `_writing` first.
        self._writing, self._reading = threading.Lock(), threading.Lock()
        self._database: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._queue: Queue[Mapping[bytes, TextVector] | None] = Queue()
        self._counting = threading.Lock()
        self._waiting = 0
        self._open()
        self._thread = threading.Thread(target=self._write, name="embedding-cache-file", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        with self._reading:
            if self._reader is None:
                return 0
            return int(self._reader.execute("SELECT count(*) FROM vectors").fetchone()[0])

    @property
    def waiting(self) -> int:
        """Entries that wait for the writing thread."""
        return self._waiting

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, TextVector]:
        """Returns the entries that are there and whole."""
        wanted = list(keys)
        found: dict[bytes, TextVector] = {}
        with self._reading:
            reader = self._reader
            if reader is None:
                return {}
            try:
                for start in range(0, len(wanted), _SQL_VARIABLES):
                    found |= _read(reader, wanted[start : start + _SQL_VARIABLES])
            except (sqlite3.Error, ValueError, struct.error) as error:
                wrong = error
            else:
                return found
        with self._writing:
            # Unless another thread has met the same.
            if self._reader is reader:
                self._give_up(wrong)
        return {}

    def put_many(self, entries: Mapping[bytes, TextVector]) -> None:
        """Hands entries to the writing thread; drops them when it is far behind."""
        if not entries:
            return
        with self._counting:
            behind = self._waiting + len(entries) > _QUEUED
            self._waiting += 0 if behind else len(entries)
        if behind:
            log.debug("cache file: the disk is behind", dropped=len(entries))
        else:
            self._queue.put(entries)

    def close(self) -> None:
        """Writes what waits and ends the thread."""
        self._queue.put(None)
        self._thread.join()
        with self._writing:
            self._disconnect()

    def _disconnect(self) -> None:
        with self._reading:
            # The writer's last: it is the one that folds the log into the file.
            for database in (self._reader, self._database):
                if database is not None:
                    database.close()
            self._reader = self._database = None

    def _open(self) -> None:
        try:
            self._connect()
        except (sqlite3.Error, OSError, ValueError) as error:
            self._give_up(error)

    def _connect(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        database = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        try:
            _prepare(database, self._pages)
            uri = f"{self._path.absolute().as_uri()}?mode=ro"
            reader = sqlite3.connect(uri, uri=True, check_same_thread=False, isolation_level=None)
        except BaseException:
            database.close()
            raise
        self._database, self._reader = database, reader

    def _give_up(self, error: Exception) -> None:
        """Sets a damaged file aside and begins a new one; keeps nothing where none can be used."""
        self._disconnect()
        # The module's own complaints have no code.
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & _BASIC_CODE not in _DAMAGES:
            log.warning("cache file cannot be used: vectors are kept in memory only", cause=repr(error))
            return
        if isinstance(error, (_ForeignFile, OSError)):
            log.error("cache file cannot be used: vectors are kept in memory only", cause=repr(error))
            return
        log.warning("cache file damaged: set aside, its vectors are computed again", cause=repr(error))
        try:
            for suffix in ("-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._path.replace(self._path.with_name(self._path.name + ".damaged"))
            self._connect()
        except (sqlite3.Error, OSError, ValueError) as again:
            log.warning("cache file cannot be used: vectors are kept in memory only", cause=repr(again))

    def _write(self) -> None:
        ended = False
        while not ended:
            entries: dict[bytes, TextVector] = {}
            part = self._queue.get()
            taken = 0
            while part is not None and len(entries) < _TOGETHER:
                entries |= part
                taken += len(part)
                try:
                    part = self._queue.get_nowait()
                except Empty:
                    break
            else:
                ended = part is None
                if part is not None:
                    entries |= part
                    taken += len(part)
            with self._counting:
                self._waiting -= taken
            self._keep(entries)

    def _keep(self, entries: Mapping[bytes, TextVector]) -> None:
        rows = [(key, *_packed(key, entry)) for key, entry in entries.items()]
        with self._writing:
            if self._database is None or not rows:
                return
            try:
                for start in range(0, len(rows), _TOGETHER):
                    self._insert(self._database, rows[start : start + _TOGETHER])
            except sqlite3.Error as error:
                self._give_up(error)

    def _insert(self, database: sqlite3.Connection, rows: list[tuple[bytes, bytes, int]]) -> None:
        statement = "INSERT OR REPLACE INTO vectors (key, entry, checksum) VALUES (?, ?, ?)"
        while True:
            try:
                with _transaction(database):
                    database.executemany(statement, rows)
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) != sqlite3.SQLITE_FULL:
                    raise
                if not self._make_room(database):
                    return
            else:
                return

    def _make_room(self, database: sqlite3.Connection) -> bool:
        """Removes the entries written first; returns whether there were any."""
        count = int(database.execute("SELECT count(*) FROM vectors").fetchone()[0])
        query = "DELETE FROM vectors WHERE written IN (SELECT written FROM vectors ORDER BY written LIMIT ?)"
        with _transaction(database):
            return database.execute(query, (max(int(count * _DROP), 1),)).rowcount > 0


def _read(database: sqlite3.Connection, keys: list[bytes]) -> dict[bytes, TextVector]:
    marks = ",".join("?" * len(keys))
    query = f"SELECT key, entry, checksum FROM vectors WHERE key IN ({marks})"  # noqa: S608 (question marks only)
    found = {}
    for key, entry, checksum in database.execute(query, keys):
        if zlib.crc32(key + entry) != checksum:
            raise ValueError("an entry does not have its checksum")
        tokens, truncated, unknown_share = _FACTS.unpack_from(entry)
        vector = np.frombuffer(entry, "<f4", offset=_FACTS.size).astype(np.float32)
        vector.setflags(write=False)
        found[bytes(key)] = TextVector(vector, tokens, bool(truncated), float(unknown_share))
    return found


class _ForeignFile(ValueError):
    """A whole SQLite file that is not a cache of this format."""


def _prepare(database: sqlite3.Connection, pages: int) -> None:
    tables = int(database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    marks = tuple(int(database.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("application_id", "user_version"))
    if tables and marks != (_APPLICATION, _FORMAT):
        raise _ForeignFile("a SQLite file that is not of this cache, or of another version of it")
    for pragma in (
        f"page_size = {_PAGE}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        f"max_page_count = {pages}",
        f"application_id = {_APPLICATION}",
        f"user_version = {_FORMAT}",
    ):
        database.execute(f"PRAGMA {pragma}")
    database.execute(
        "CREATE TABLE IF NOT EXISTS vectors"
        " (written INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, entry BLOB NOT NULL, checksum INTEGER NOT NULL)"
    )
    database.execute("SELECT key, entry, checksum FROM vectors LIMIT 1").fetchall()


class _transaction:  # noqa: N801 (used as a function)
    """BEGIN, and COMMIT or ROLLBACK."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def __enter__(self) -> None:
        self._database.execute("BEGIN IMMEDIATE")

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self._database.execute("COMMIT")
        elif self._database.in_transaction:
            self._database.execute("ROLLBACK")


def _packed(key: bytes, entry: TextVector) -> tuple[bytes, int]:
    facts = _FACTS.pack(entry.tokens, entry.truncated, entry.unknown_share)
    data = facts + entry.vector.astype("<f4", copy=False).tobytes()
    return data, zlib.crc32(key + data)
