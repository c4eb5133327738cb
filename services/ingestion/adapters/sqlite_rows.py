"""Rows of the SQLite file to domain types and back."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeAlias

from fusionrec.common.v1 import item_pb2

from services.ingestion.adapters.sqlite_schema import KIND_EVENT, KIND_ITEM_DELETED, KIND_ITEM_UPSERTED
from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord, UserForgotten
from shared.rpc.convert import decode_item, encode_item

if TYPE_CHECKING:
    from collections.abc import Iterable

Row: TypeAlias = "tuple[Any, ...]"

EVENT_COLUMNS = (
    "event_id, user_id, item_id, type, happened_at, value, text, session_id, attribution_token, position, propensity"
)
"""Columns of an event, in the order of `event_row` and `event_of`."""
LOG_COLUMNS = f"sequence, kind, appended_at, item, {EVENT_COLUMNS}"
"""Columns of a record, in the order of `record_of`."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_EVENT_TYPES = {int(kind): kind for kind in EventType}
"""Far quicker than calling the enum, which a history does for each event."""
_FIXED_BYTES = 256
"""About what a record takes besides its text or item."""


def to_us(time: datetime) -> int:
    """Returns microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def from_us(microseconds: int) -> datetime:
    """Returns the UTC time of microseconds since 1970; exact up to the year 2200 (a double holds them)."""
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def json_list(values: Iterable[str | int]) -> str:
    """Returns a list as one parameter, for `IN (SELECT value FROM json_each(?))`."""
    return json.dumps(list(values))


def event_row(event: Event) -> Row:
    """Returns the values of `EVENT_COLUMNS`."""
    return (
        event.event_id,
        event.user_id,
        event.item_id,
        int(event.type),
        to_us(event.timestamp),
        event.value,
        event.text,
        event.session_id,
        event.attribution_token,
        event.position,
        event.propensity,
    )


def event_of(row: Row) -> Event:
    """Returns the event of the values of `EVENT_COLUMNS`."""
    event_id, user_id, item_id, kind, happened_at, value, text, session_id, token, position, propensity = row
    return Event(
        event_id,
        user_id,
        item_id,
        _EVENT_TYPES[kind],
        from_us(happened_at),
        value,
        text,
        session_id,
        token,
        position,
        propensity,
    )


def item_body(item: Item) -> bytes:
    """Returns the bytes of an item without its two server times: equal items give equal bytes."""
    message = encode_item(item)
    message.ClearField("created_at")
    message.ClearField("updated_at")
    return message.SerializeToString(deterministic=True)


def timed_body(body: bytes, created_at: int, updated_at: int) -> bytes:
    """Returns the bytes of an item with its server times, microseconds since 1970."""
    message = item_pb2.Item.FromString(body)
    message.created_at.FromMicroseconds(created_at)
    message.updated_at.FromMicroseconds(updated_at)
    return message.SerializeToString(deterministic=True)


def item_of(data: bytes) -> Item:
    """Returns the item of its bytes."""
    return decode_item(item_pb2.Item.FromString(data), "item")


def record_of(row: Row) -> LogRecord:
    """Returns the record of the values of `LOG_COLUMNS`."""
    sequence, kind, appended_at, item = row[:4]
    body: Event | Item | ItemDeleted | UserForgotten
    if kind == KIND_EVENT:
        body = event_of(row[4:])
    elif kind == KIND_ITEM_UPSERTED:
        body = item_of(item)
    elif kind == KIND_ITEM_DELETED:
        body = ItemDeleted(row[6])
    else:
        body = UserForgotten(row[5])
    return LogRecord(sequence, from_us(appended_at), body)


def record_bytes(row: Row) -> int:
    """Returns about the size of a record of `LOG_COLUMNS` in a message."""
    return _FIXED_BYTES + len(row[3] or b"") + len(row[10] or "")


def event_bytes(row: Row) -> int:
    """Returns about the size of an event of `EVENT_COLUMNS` in a message."""
    return _FIXED_BYTES + len(row[6] or "")
