"""Rows as items of the catalogue: every column that is not a field of its own becomes an attribute."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from fusionrec.common.v1 import item_pb2

from shared.cli.importing.columns import check_columns
from shared.cli.importing.values import BadValue, as_attribute, as_list, as_text, as_time
from shared.errors import shown
from shared.rpc.convert import encode_attribute, encode_time

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from shared.cli.readers import Row, Source

FIELDS = ("item_id", "title", "text", "categories", "available_from", "available_until")
ATTRIBUTES = "attributes"
"""A column with a whole object of attributes (JSONL, Parquet structs, or JSON text in a CSV)."""


class ItemRows:
    """Turns rows into items.

    Raises:
        Refusal: the file has no item id.

    """

    def __init__(self, path: Path, source: Source, mapping: Mapping[str, str]) -> None:
        check_columns(path, source, mapping, ["item_id"])
        self._typed = source.typed
        self._name = {theirs: ours for ours, theirs in mapping.items()}
        # A column that has one of our names but is not the one that --map names is an attribute like any other.
        self._column = {field: mapping.get(field, field) for field in FIELDS}
        self.ignored: tuple[str, ...] = ()

    def convert(self, row: Row) -> item_pb2.Item:
        """Returns the item of a row.

        Raises:
            BadValue: a value cannot be understood.

        """
        start = as_time(self._get(row, "available_from"), self._column["available_from"])
        end = as_time(self._get(row, "available_until"), self._column["available_until"])
        item = item_pb2.Item(
            item_id=as_text(self._get(row, "item_id"), self._column["item_id"]),
            title=as_text(self._get(row, "title"), self._column["title"]),
            text=as_text(self._get(row, "text"), self._column["text"]),
            categories=as_list(self._get(row, "categories"), self._column["categories"]),
            available_from=encode_time(start) if start else None,
            available_until=encode_time(end) if end else None,
        )
        for name, value in self._attributes(row):
            attribute = as_attribute(value, name, typed=self._typed)
            if attribute is not None:
                item.attributes[as_text(name, "column")].CopyFrom(encode_attribute(attribute))
        return item

    def _get(self, row: Row, field: str) -> Any:
        return row.values.get(self._column[field])

    def _attributes(self, row: Row) -> Iterator[tuple[str, Any]]:
        own = set(self._column.values())
        for column, value in row.values.items():
            if column in own or value is None:
                continue
            if column == ATTRIBUTES:
                yield from _object(value).items()
            else:
                yield self._name.get(column, column), value


def _object(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise BadValue(f"{ATTRIBUTES} = {shown(value)!r} is not a JSON object") from error
    if not isinstance(value, dict):
        raise BadValue(f"{ATTRIBUTES} = {shown(value)!r} is not an object")
    return value
