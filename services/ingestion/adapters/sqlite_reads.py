"""What a reader thread does, each call in one snapshot of the database."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from services.ingestion.adapters.sqlite_rows import (
    EVENT_COLUMNS,
    LOG_COLUMNS,
    event_bytes,
    event_of,
    from_us,
    item_of,
    json_list,
    record_bytes,
    record_of,
    timed_body,
    to_us,
)
from services.ingestion.ports import StoreStats, Stretch, UserHistory
from shared.data.limits import MAX_MESSAGE_BYTES
from shared.data.nouns import EventType
from shared.errors import LimitExceeded

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from collections.abc import Set as AbstractSet
    from datetime import datetime

    from services.ingestion.adapters.sqlite_rows import Row
    from shared.data.nouns import Item

MAX_REPLY_BYTES = 4 * 1024 * 1024
"""About the size at which a list is cut short, far below the largest message; one element always fits."""

MAX_ITEMS_BYTES = MAX_MESSAGE_BYTES - 1024 * 1024
"""Items that are asked for by id come together or not at all; a megabyte is left for the ids that are missing."""

_SERVER_FIELDS_BYTES = 64
"""Most that the two server times and the framing add to an item."""
_ITEM_COLUMNS = "item_id, created_at, updated_at, item"
_END = "SELECT COALESCE(MAX(sequence), 0) FROM log"
_NO_END_US = 2**63 - 1


class Reader:
    """Reads through one connection, on one thread."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def read_log(self, after: int, limit: int, exclude: AbstractSet[EventType]) -> Stretch:
        """Reads a stretch of the log."""
        sql = (
            f"SELECT {LOG_COLUMNS} FROM log WHERE sequence > ? "  # noqa: S608 (constants)
            "AND (type IS NULL OR type NOT IN (SELECT value FROM json_each(?))) ORDER BY sequence LIMIT ?"
        )
        with self._snapshot():
            end = self._scalar(_END)
            found = self._connection.execute(sql, (after, json_list(int(kind) for kind in exclude), limit + 1))
            rows, more = _taken(found, limit, record_bytes)
        position = rows[-1][0] if more else max(end, after)
        return Stretch([record_of(row) for row in rows], position, at_end=not more)

    def get_items(self, item_ids: Sequence[str]) -> dict[str, Item]:
        """Reads items by id."""
        sql = f"SELECT {_ITEM_COLUMNS} FROM items WHERE item_id IN (SELECT value FROM json_each(?))"  # noqa: S608 (constants)
        items = {}
        total = 0
        for row in self._connection.execute(sql, (json_list(item_ids),)):
            total += len(row[3]) + _SERVER_FIELDS_BYTES
            if total > MAX_ITEMS_BYTES:
                hint = "these items are large; ask for fewer at once"
                raise LimitExceeded("item_ids", f"{len(item_ids)} ids", f"{MAX_ITEMS_BYTES} bytes of items", hint)
            items[row[0]] = _item(row)
        return items

    def list_items(self, after: str, limit: int) -> tuple[list[Item], bool]:
        """Reads a page of the catalogue."""
        sql = f"SELECT {_ITEM_COLUMNS} FROM items WHERE item_id > ? ORDER BY item_id LIMIT ?"  # noqa: S608 (constants)
        rows, more = _taken(self._connection.execute(sql, (after, limit + 1)), limit, _item_bytes)
        return [_item(row) for row in rows], more

    def user_history(
        self, user_id: str, limit: int, types: AbstractSet[EventType], before: datetime | None
    ) -> UserHistory:
        """Reads the newest events of a user."""
        # Impressions have their own half of the index; see the schema.
        halves = sorted({int(kind is EventType.IMPRESSION) for kind in types})
        where = (
            f"user_id = ? AND (type = 1) IN ({', '.join(map(str, halves))}) "  # noqa: S608 (numbers of our own)
            "AND happened_at < ? "
            "AND type IN (SELECT value FROM json_each(?))"
        )
        until = _NO_END_US if before is None else to_us(before)
        values = (user_id, until, json_list(int(kind) for kind in types))
        newest_first = "ORDER BY happened_at DESC, item_id DESC, sequence DESC LIMIT ?"
        with self._snapshot():
            end = self._scalar(_END)
            total = self._scalar(f"SELECT COUNT(*) FROM log WHERE {where}", values)  # noqa: S608 (numbers of our own)
            found = self._connection.execute(
                f"SELECT {EVENT_COLUMNS} FROM log WHERE {where} {newest_first}",  # noqa: S608 (numbers of our own)
                (*values, limit),
            )
            rows, _ = _taken(found, limit, event_bytes)
        return UserHistory([event_of(row) for row in rows], total, end)

    def stats(self) -> StoreStats:
        """Reads the counts."""
        with self._snapshot():
            types = self._connection.execute("SELECT type, events FROM event_types WHERE events > 0").fetchall()
            users, oldest, newest = self._connection.execute(
                "SELECT COUNT(*), MIN(oldest), MAX(newest) FROM event_users"
            ).fetchone()
            items = self._scalar("SELECT COUNT(*) FROM items")
            unknown = self._scalar(
                "SELECT COUNT(*) FROM event_items AS e "
                "WHERE NOT EXISTS (SELECT 1 FROM items AS i WHERE i.item_id = e.item_id)"
            )
            end = self._scalar(_END)
        return StoreStats(
            events_by_type={EventType(kind): events for kind, events in types},
            users=users,
            items=items,
            unknown_items=unknown,
            oldest=None if oldest is None else from_us(oldest),
            newest=None if newest is None else from_us(newest),
            sequence=end,
        )

    @contextmanager
    def _snapshot(self) -> Iterator[None]:
        self._connection.execute("BEGIN")
        try:
            yield
        finally:
            self._connection.execute("ROLLBACK")

    def _scalar(self, sql: str, values: Sequence[object] = ()) -> int:
        value: int = self._connection.execute(sql, values).fetchone()[0]
        return value


def _taken(rows: Iterable[Row], limit: int, size: Callable[[Row], int]) -> tuple[list[Row], bool]:
    """Returns the rows that fit into a reply, and whether there are more."""
    taken: list[Row] = []
    total = 0
    for row in rows:
        total += size(row)
        if len(taken) == limit or (taken and total > MAX_REPLY_BYTES):
            return taken, True
        taken.append(row)
    return taken, False


def _item(row: Row) -> Item:
    _, created_at, updated_at, body = row
    return item_of(timed_body(body, created_at, updated_at))


def _item_bytes(row: Row) -> int:
    return len(row[3])
