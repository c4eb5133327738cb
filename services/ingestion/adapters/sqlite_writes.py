"""What the writer thread does inside a transaction. Nothing here commits."""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from services.ingestion.adapters.sqlite_rows import (
    EVENT_COLUMNS,
    event_row,
    item_body,
    json_list,
    timed_body,
    to_us,
)
from services.ingestion.adapters.sqlite_schema import (
    KIND_EVENT,
    KIND_ITEM_DELETED,
    KIND_ITEM_UPSERTED,
    KIND_USER_FORGOTTEN,
)
from services.ingestion.ports import Appended, Deleted, Erasure, Upserted

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Sequence

    from shared.data.nouns import Event, Item

_INSERT_EVENT = (
    f"INSERT INTO log (sequence, kind, appended_at, {EVENT_COLUMNS}) "  # noqa: S608 (constants)
    f"VALUES (?, {KIND_EVENT}, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
_STORED_IDS = "SELECT event_id FROM log WHERE event_id IN (SELECT value FROM json_each(?))"
_LISTED_ITEMS = "SELECT item_id FROM items WHERE item_id IN (SELECT value FROM json_each(?))"
_COUNT_TYPE = "INSERT INTO event_types VALUES (?, ?) ON CONFLICT (type) DO UPDATE SET events = events + excluded.events"
_COUNT_ITEM = (
    "INSERT INTO event_items VALUES (?, ?) ON CONFLICT (item_id) DO UPDATE SET events = events + excluded.events"
)
_COUNT_USER = (
    "INSERT INTO event_users VALUES (?, ?, ?, ?) ON CONFLICT (user_id) DO UPDATE SET "
    "events = events + excluded.events, oldest = MIN(oldest, excluded.oldest), newest = MAX(newest, excluded.newest)"
)


class LogWriter:
    """Writes through one connection, on one thread; gives every record the next sequence number.

    `sequence` is the last number given; the committer sets it back when a transaction is undone.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.sequence = 0
        self.reload()

    def reload(self) -> None:
        """Reads the last sequence number from the log."""
        self.sequence = self._connection.execute("SELECT COALESCE(MAX(sequence), 0) FROM log").fetchone()[0]

    def append_events(self, events: Sequence[Event]) -> Appended:
        """Appends the events with new ids."""
        known = self._among(_STORED_IDS, (event.event_id for event in events))
        stored, fresh = [], []
        for event in events:
            is_new = event.event_id not in known
            stored.append(is_new)
            if is_new:
                known.add(event.event_id)
                fresh.append(event)
        now = _now_us()
        first = self.sequence + 1
        self._connection.executemany(
            _INSERT_EVENT, [(first + offset, now, *event_row(event)) for offset, event in enumerate(fresh)]
        )
        self.sequence += len(fresh)
        self._count(fresh)
        listed = self._among(_LISTED_ITEMS, {event.item_id for event in fresh})
        unknown = sum(event.item_id not in listed for event in fresh)
        return Appended(tuple(stored), unknown, self.sequence)

    def upsert_items(self, items: Sequence[Item]) -> Upserted:
        """Writes the items that differ from what is stored."""
        now = _now_us()
        return Upserted(tuple(self._upsert(item, now) for item in items), self.sequence)

    def delete_item(self, item_id: str) -> Deleted:
        """Deletes an item; a record only when there was one."""
        existed = self._connection.execute("DELETE FROM items WHERE item_id = ?", (item_id,)).rowcount > 0
        if existed:
            self._append(KIND_ITEM_DELETED, _now_us(), item_id=item_id)
        return Deleted(existed, self.sequence)

    def forget_user(self, user_id: str) -> Erasure:
        """Deletes a user's events and takes them out of the counts."""
        rows = self._connection.execute(
            "SELECT item_id, type FROM log WHERE user_id = ? AND (type = 1) IN (0, 1)", (user_id,)
        ).fetchall()
        self._connection.execute("DELETE FROM log WHERE user_id = ? AND (type = 1) IN (0, 1)", (user_id,))
        self._connection.execute("DELETE FROM event_users WHERE user_id = ?", (user_id,))
        items = Counter(row[0] for row in rows)
        types = Counter(row[1] for row in rows)
        self._connection.executemany(_COUNT_ITEM, [(item_id, -count) for item_id, count in items.items()])
        self._connection.executemany(_COUNT_TYPE, [(kind, -count) for kind, count in types.items()])
        self._connection.executemany(
            "DELETE FROM event_items WHERE item_id = ? AND events = 0", [(item_id,) for item_id in items]
        )
        receipt_id = uuid.uuid4().hex
        self._append(KIND_USER_FORGOTTEN, _now_us(), event_id=receipt_id, user_id=user_id)
        return Erasure(receipt_id, len(rows), self.sequence)

    def _upsert(self, item: Item, now: int) -> bool:
        body = item_body(item)
        row = self._connection.execute(
            "SELECT created_at, item FROM items WHERE item_id = ?", (item.item_id,)
        ).fetchone()
        if row is not None and row[1] == body:
            return False
        created_at = now if row is None else row[0]
        self._connection.execute(
            "INSERT INTO items VALUES (?, ?, ?, ?) ON CONFLICT (item_id) DO UPDATE SET "
            "updated_at = excluded.updated_at, item = excluded.item",
            (item.item_id, created_at, now, body),
        )
        self._append(KIND_ITEM_UPSERTED, now, item_id=item.item_id, item=timed_body(body, created_at, now))
        return True

    def _append(
        self,
        kind: int,
        now: int,
        *,
        event_id: str | None = None,
        user_id: str | None = None,
        item_id: str | None = None,
        item: bytes | None = None,
    ) -> None:
        self._connection.execute(
            "INSERT INTO log (sequence, kind, appended_at, event_id, user_id, item_id, item) "
            "VALUES (?, ?, ?, ?, ?, ?, ?)",
            (self.sequence + 1, kind, now, event_id, user_id, item_id, item),
        )
        self.sequence += 1

    def _count(self, events: Sequence[Event]) -> None:
        self._connection.executemany(_COUNT_TYPE, Counter(int(event.type) for event in events).items())
        self._connection.executemany(_COUNT_ITEM, Counter(event.item_id for event in events).items())
        times: dict[str, list[int]] = {}
        for event in events:
            times.setdefault(event.user_id, []).append(to_us(event.timestamp))
        self._connection.executemany(
            _COUNT_USER, [(user_id, len(own), min(own), max(own)) for user_id, own in times.items()]
        )

    def _among(self, sql: str, values: Iterable[str]) -> set[str]:
        rows = self._connection.execute(sql, (json_list(values),))
        return {row[0] for row in rows}


def _now_us() -> int:
    return to_us(datetime.now(UTC))
