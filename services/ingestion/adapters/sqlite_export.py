"""Reads the SQLite file for an export, beside the server that writes it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.ingestion.adapters.sqlite_errors import translated
from services.ingestion.adapters.sqlite_reads import Reader
from services.ingestion.adapters.sqlite_schema import KIND_EVENT, KIND_USER_FORGOTTEN, check_readable, open_reader
from services.ingestion.ports import EventColumns, StoreUnusable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shared.data.nouns import Item

MAX_TEXT_BYTES = 64 * 1024 * 1024
"""Texts read at once; one event more always fits."""
_EVENTS = (
    "SELECT sequence, user_id, item_id, type, value, happened_at, text, session_id, "  # noqa: S608 (constants)
    "attribution_token, position, propensity FROM log "
    f"WHERE sequence > ? AND sequence <= ? AND kind = {KIND_EVENT} ORDER BY sequence LIMIT ?"
)
_FORGOT = f"SELECT EXISTS (SELECT 1 FROM log WHERE sequence > ? AND sequence <= ? AND kind = {KIND_USER_FORGOTTEN})"  # noqa: S608 (constants)
_FIELDS = 11
_TEXT = 6


class SqliteExport:
    """Implements `ports.LogExport`.

    Args:
        path: the database file.

    Raises:
        StoreUnusable: there is none, or it is not one of ours.

    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise StoreUnusable(f"{path} does not exist; set INGESTION_STORE to the store of the service")
        try:
            self._connection = open_reader(path)
            self._log_id = check_readable(self._connection, path)
        except sqlite3.Error as error:
            raise StoreUnusable(f"cannot read {path}: {error}") from error
        self._reader = Reader(self._connection)

    @property
    def log_id(self) -> str:
        """Identity of the log."""
        return self._log_id

    def end(self) -> int:
        """Returns the end of the log."""
        with _telling():
            end: int = self._connection.execute("SELECT COALESCE(MAX(sequence), 0) FROM log").fetchone()[0]
        return end

    def read_events(self, after: int, until: int, limit: int) -> EventColumns:
        """Reads events as columns."""
        rows, text_bytes = [], 0
        with _telling():
            for row in self._connection.execute(_EVENTS, (after, until, limit)):
                rows.append(row)
                text_bytes += len(row[_TEXT] or "")
                if text_bytes > MAX_TEXT_BYTES:
                    break
        return EventColumns(*(zip(*rows, strict=True) if rows else ((),) * _FIELDS))

    def forgot_users(self, after: int, until: int) -> bool:
        """Looks for erasures."""
        with _telling():
            return bool(self._connection.execute(_FORGOT, (after, until)).fetchone()[0])

    def list_items(self, after: str, limit: int) -> tuple[list[Item], bool]:
        """Reads a page of the catalogue."""
        with _telling():
            return self._reader.list_items(after, limit)

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()


@contextmanager
def _telling() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise translated(error) from error
