"""Items as rows of Parquet and back, without loss."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from shared.data.nouns import AttributeValue, Item
from shared.errors import CorruptData
from shared.exports.events import UTC_US

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shared.exports.folder import ExportFolder

_ATTRIBUTE = pa.struct(
    [
        pa.field("name", pa.string(), nullable=False),
        pa.field("word", pa.string()),
        pa.field("number", pa.float64()),
        pa.field("flag", pa.bool_()),
        pa.field("words", pa.list_(pa.string())),
        pa.field("time", UTC_US),
    ]
)
"""One attribute: its name, and one of the others set."""
_VECTOR = pa.struct([pa.field("space", pa.string(), nullable=False), pa.field("vector", pa.list_(pa.float32()))])
ITEM_SCHEMA = pa.schema(
    [
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("text", pa.string(), nullable=False),
        pa.field("categories", pa.list_(pa.string()), nullable=False),
        pa.field("attributes", pa.list_(_ATTRIBUTE), nullable=False),
        pa.field("available_from", UTC_US),
        pa.field("available_until", UTC_US),
        pa.field("vectors", pa.list_(_VECTOR), nullable=False),
        pa.field("created_at", UTC_US),
        pa.field("updated_at", UTC_US),
    ]
)
_BATCH_ROWS = 2_000


def item_batch(items: Sequence[Item]) -> pa.RecordBatch:
    """Returns the rows of some items."""
    return pa.RecordBatch.from_pylist([_row(item) for item in items], schema=ITEM_SCHEMA)


def read_items(folder: ExportFolder) -> Iterator[list[Item]]:
    """Yields the catalogue of an export by item id, some thousand at a time.

    Raises:
        NotFound: there is no export.
        CorruptData: the file is missing or cannot be read.

    """
    name = folder.manifest().items_file
    with folder.reading(name) as file:
        try:
            for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
                yield [_item(row) for row in batch.to_pylist()]
        except pa.ArrowInvalid as error:
            raise CorruptData(f"{name} of the export cannot be read") from error


def _row(item: Item) -> dict[str, Any]:
    return {
        "item_id": item.item_id,
        "title": item.title,
        "text": item.text,
        "categories": item.categories,
        "attributes": [{"name": name, _field(value): value} for name, value in item.attributes.items()],
        "available_from": item.available_from,
        "available_until": item.available_until,
        "vectors": [{"space": space, "vector": vector} for space, vector in item.vectors.items()],
        "created_at": item.created_at,
        "updated_at": item.updated_at,
    }


def _field(value: AttributeValue) -> str:
    # bool first: it is an int, and ints are numbers.
    for kinds, name in ((bool, "flag"), (str, "word"), (tuple, "words"), (datetime, "time")):
        if isinstance(value, kinds):
            return name
    return "number"


def _item(row: dict[str, Any]) -> Item:
    return Item(
        **{
            **row,
            "categories": tuple(row["categories"]),
            "attributes": {entry["name"]: _value(entry) for entry in row["attributes"]},
            "vectors": {entry["space"]: np.array(entry["vector"], np.float32) for entry in row["vectors"]},
        }
    )


def _value(entry: dict[str, Any]) -> AttributeValue:
    name, value = next((name, value) for name, value in entry.items() if name != "name" and value is not None)
    return tuple(value) if name == "words" else value
