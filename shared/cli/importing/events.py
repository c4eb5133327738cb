"""Rows as events."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

from fusionrec.common.v1 import event_pb2

from shared.cli.importing.columns import check_columns
from shared.cli.importing.values import BadValue, as_event_type, as_number, as_text, as_time
from shared.rpc.convert import encode_time

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from shared.cli.readers import Row, Source
    from shared.data.nouns import EventType

FIELDS = (
    "event_id",
    "user_id",
    "item_id",
    "type",
    "value",
    "timestamp",
    "text",
    "session_id",
    "attribution_token",
    "position",
    "propensity",
)


class EventRows:
    """Turns rows into events. `default_type` is for rows without a type.

    An event without a time gets an id from the file's content and the row's number: the server could only give it a
    random one, and the same file brought in twice would count twice.

    Raises:
        Refusal: the file lacks a column.

    """

    def __init__(
        self, path: Path, source: Source, mapping: Mapping[str, str], default_type: EventType | None = None
    ) -> None:
        required = ["user_id", "item_id", *(["type"] if default_type is None else [])]
        check_columns(path, source, mapping, required)
        self._path = path
        self._column = {field: mapping.get(field, field) for field in FIELDS}
        self._default_type = default_type
        self._digest = ""
        used = set(self._column.values())
        self.ignored = tuple(name for name in source.columns or () if name not in used)

    def convert(self, row: Row) -> event_pb2.Event:
        """Returns the event of a row.

        Raises:
            BadValue: a value cannot be understood.

        """
        kind = as_event_type(self._get(row, "type"), self._column["type"]) or self._default_type
        if kind is None:
            raise BadValue(f"{self._column['type']} is empty: say what the user did, or give --type")
        at = as_time(self._get(row, "timestamp"), self._column["timestamp"])
        event_id = self._text(row, "event_id")
        return event_pb2.Event(
            event_id=event_id or ("" if at else self._row_id(row)),
            user_id=self._text(row, "user_id"),
            item_id=self._text(row, "item_id"),
            type=event_pb2.EventType.ValueType(kind),
            value=as_number(self._get(row, "value"), self._column["value"]),
            timestamp=encode_time(at) if at else None,
            text=self._text(row, "text"),
            session_id=self._text(row, "session_id"),
            attribution_token=self._text(row, "attribution_token"),
            position=self._position(row),
            propensity=as_number(self._get(row, "propensity"), self._column["propensity"]),
        )

    def _get(self, row: Row, field: str) -> Any:
        return row.values.get(self._column[field])

    def _text(self, row: Row, field: str) -> str:
        return as_text(self._get(row, field), self._column[field])

    def _position(self, row: Row) -> int:
        column = self._column["position"]
        number = as_number(self._get(row, "position"), column) or 0.0
        if not number.is_integer() or abs(number) >= 2**31:
            raise BadValue(f"{column} = {number!r} is not a whole number")
        return int(number)

    def _row_id(self, row: Row) -> str:
        if not self._digest:
            with self._path.open("rb") as file:
                self._digest = hashlib.file_digest(file, "sha256").hexdigest()
        return hashlib.sha256(f"{self._digest}:{row.line}".encode()).hexdigest()[:32]
