"""The SQLite file: its tables, its version, how it is opened."""

from __future__ import annotations

import secrets
import sqlite3
from typing import TYPE_CHECKING

from services.ingestion.ports import StoreUnusable

if TYPE_CHECKING:
    from pathlib import Path

APPLICATION_ID = 0x46524C47
"""PRAGMA application_id of our files: "FRLG"."""
SCHEMA_VERSION = 2
"""PRAGMA user_version. A change of the tables adds one and a migration."""
BUSY_TIMEOUT_S = 5.0

PRIMARY_CODE = 0xFF
"""The bits of an extended result code of SQLite that say what kind of error it is."""

KIND_EVENT = 1
KIND_ITEM_UPSERTED = 2
KIND_ITEM_DELETED = 3
KIND_USER_FORGOTTEN = 4

# Times are microseconds since 1970. An item is a serialised fusionrec.common.v1.Item.
# In a KIND_USER_FORGOTTEN record, event_id is the id of the receipt.
_TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    """CREATE TABLE log (
        sequence INTEGER PRIMARY KEY,
        kind INTEGER NOT NULL,
        appended_at INTEGER NOT NULL,
        event_id TEXT UNIQUE,
        user_id TEXT,
        item_id TEXT,
        type INTEGER,
        happened_at INTEGER,
        value REAL,
        text TEXT,
        session_id TEXT,
        attribution_token TEXT,
        position INTEGER,
        item BLOB,
        propensity REAL)""",
    # Impressions are most of a busy log and rarely asked for: they stand apart, so that a history need not
    # step over them. `type` comes last so that counting reads the index alone.
    "CREATE INDEX log_history ON log (user_id, (type = 1), happened_at, item_id, sequence, type)",
    """CREATE TABLE items (
        item_id TEXT PRIMARY KEY,
        created_at INTEGER NOT NULL,
        updated_at INTEGER NOT NULL,
        item BLOB NOT NULL)""",
    # Counts, kept with every write: GetStats must not scan the log.
    "CREATE TABLE event_types (type INTEGER PRIMARY KEY, events INTEGER NOT NULL)",
    "CREATE TABLE event_items (item_id TEXT PRIMARY KEY, events INTEGER NOT NULL) WITHOUT ROWID",
    """CREATE TABLE event_users (
        user_id TEXT PRIMARY KEY, events INTEGER NOT NULL, oldest INTEGER NOT NULL, newest INTEGER NOT NULL
        ) WITHOUT ROWID""",
)

_MIGRATIONS = {1: ("ALTER TABLE log ADD COLUMN propensity REAL",)}
"""By the version that they start from: what makes the next one of it. Adding a column rewrites no row."""


def open_writer(path: Path) -> sqlite3.Connection:
    """Opens or creates the database for the writer thread: WAL, every commit synced to the disk.

    Raises:
        StoreUnusable: not a database, another program's, of a newer schema, locked, or not accessible.

    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.OperationalError) as error:
        raise StoreUnusable(f"cannot open {path}: {error}; check the folder, its owner and the free space") from error
    try:
        _prepare(connection, path)
    except sqlite3.DatabaseError as error:
        connection.close()
        if error.sqlite_errorcode & PRIMARY_CODE in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise StoreUnusable(
                f"{path} is locked by another program (a backup, a database shell), and is not broken: wait until that "
                "has ended, or end it, then start again"
            ) from error
        raise StoreUnusable(f"cannot use {path}: {error}; restore it from a backup or name another file") from error
    except StoreUnusable:
        connection.close()
        raise
    return connection


def open_reader(path: Path) -> sqlite3.Connection:
    """Opens the database for one reader thread; it can not write."""
    uri = f"{path.resolve().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    # 16 MB: a user's events lie scattered over the log.
    connection.execute("PRAGMA cache_size = -16384")
    return connection


def read_log_id(connection: sqlite3.Connection) -> str:
    """Returns the identity of the log, made when the database was created."""
    log_id: str = connection.execute("SELECT value FROM meta WHERE name = 'log_id'").fetchone()[0]
    return log_id


def check_readable(connection: sqlite3.Connection, path: Path) -> str:
    """Returns the identity of the log of a database that was opened for reading.

    Raises:
        StoreUnusable: it has no log of this schema version.

    """
    _check_ours(connection, path)
    if _pragma(connection, "user_version") != SCHEMA_VERSION:
        raise StoreUnusable(f"{path} holds no log of this version; start the ingestion service on it once")
    return read_log_id(connection)


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    _check_ours(connection, path)
    connection.execute("PRAGMA journal_mode = WAL")
    # FULL syncs the write-ahead log at every commit: what is acknowledged survives a loss of power.
    connection.execute("PRAGMA synchronous = FULL")
    # What a forgotten user leaves behind is overwritten with zeros.
    connection.execute("PRAGMA secure_delete = ON")
    # 64 MB: a bulk import touches the history index all over.
    connection.execute("PRAGMA cache_size = -65536")
    # 32 MB of write-ahead log, not 4: with less, every batch of an import would write the whole index again.
    connection.execute("PRAGMA wal_autocheckpoint = 8192")
    if _pragma(connection, "user_version") == 0:
        _create(connection)
    _migrate(connection)


def _check_ours(connection: sqlite3.Connection, path: Path) -> None:
    version = _pragma(connection, "user_version")
    owner = _pragma(connection, "application_id")
    is_empty = connection.execute("SELECT COUNT(*) FROM sqlite_schema").fetchone()[0] == 0
    if owner != APPLICATION_ID and not (is_empty and version == 0):
        raise StoreUnusable(f"{path} is a database of another program; name another file")
    if version > SCHEMA_VERSION:
        raise StoreUnusable(
            f"{path} has schema version {version}, this program knows {SCHEMA_VERSION}: it was written by a newer "
            "Fusionrec; upgrade, or name another file"
        )


def _create(connection: sqlite3.Connection) -> None:
    connection.execute("BEGIN IMMEDIATE")
    for statement in _TABLES:
        connection.execute(statement)
    connection.execute("INSERT INTO meta VALUES ('log_id', ?)", (secrets.token_hex(8),))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    connection.execute("COMMIT")


def _migrate(connection: sqlite3.Connection) -> None:
    if _pragma(connection, "user_version") == SCHEMA_VERSION:
        # Nothing is to be written: what another program locks for a while, such as a backup, need not be waited for.
        return
    connection.execute("BEGIN IMMEDIATE")
    for version in range(_pragma(connection, "user_version"), SCHEMA_VERSION):
        for statement in _MIGRATIONS[version]:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version = {version + 1}")
    connection.execute("COMMIT")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    value: int = connection.execute(f"PRAGMA {name}").fetchone()[0]
    return value
