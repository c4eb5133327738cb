"""Events as columns."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from shared.data.nouns import Event, EventType
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from shared.exports.folder import ExportFolder

UTC_US = pa.timestamp("us", tz="UTC")
TYPE_NAMES = [kind.name for kind in EventType]
"""Names of the types by number; the first has number 1."""
EVENT_SCHEMA = pa.schema(
    [
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("user_id", pa.string(), nullable=False),
        pa.field("item_id", pa.string(), nullable=False),
        pa.field("type", pa.dictionary(pa.int8(), pa.string()), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("timestamp", UTC_US, nullable=False),
        pa.field("text", pa.string()),
        pa.field("session_id", pa.string()),
        pa.field("attribution_token", pa.string()),
        pa.field("position", pa.int32()),
        pa.field("propensity", pa.float64()),
    ]
)
"""`type` is the name of an `EventType`, `value` null where the type has none. Empty texts, sessions, tokens are null.

`attribution_token` joins what users did to the impression it came of. `position` (from 1) and `propensity` (of being
shown there) are null where nobody said them: with them an export is enough for off-policy evaluation.
"""
_READ = ("sequence", "user_id", "item_id", "type", "value", "timestamp")
_ATTRIBUTION = ("attribution_token", "position", "propensity")
_BATCH_ROWS = 65_536


def read_events(
    folder: ExportFolder, *, exclude: Collection[EventType] = (), attribution: bool = False
) -> Iterator[list[Event]]:
    """Yields the events of an export in log order, some ten thousand at a time; without their texts and sessions.

    The ids of the events are not exported: `event_id` is the sequence number. Tokens, positions and propensities are
    read with `attribution` only.

    Raises:
        NotFound: there is no export.
        CorruptData: a file is missing or cannot be read.

    """
    excluded = pa.array([kind.name for kind in exclude], pa.string())
    columns = [*_READ, *(_ATTRIBUTION if attribution else ())]
    for part in folder.manifest().parts:
        with folder.reading(part.name) as file:
            try:
                for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS, columns=columns):
                    kept = batch.filter(pc.invert(pc.is_in(pc.cast(batch["type"], pa.string()), value_set=excluded)))
                    yield _events(kept)
            except pa.ArrowInvalid as error:
                raise CorruptData(f"{part.name} of the export cannot be read") from error


def _events(batch: pa.RecordBatch) -> list[Event]:
    columns = [batch[name] for name in _READ]
    times = columns.pop().cast(pa.int64())
    sequences, users, items, types, values = (column.to_pylist() for column in columns)
    events = [
        # As ingestion reads its own times: both sides must make the same double of them.
        Event(str(sequence), user, item, EventType[kind], datetime.fromtimestamp(time / 1e6, UTC), value)
        for sequence, user, item, kind, value, time in zip(
            sequences, users, items, types, values, times.to_pylist(), strict=True
        )
    ]
    if _ATTRIBUTION[0] not in batch.schema.names:
        return events
    told = zip(events, *(batch[name].to_pylist() for name in _ATTRIBUTION), strict=True)
    return [
        replace(event, attribution_token=token or "", position=position or 0, propensity=propensity)
        if token or position or propensity is not None
        else event
        for event, token, position, propensity in told
    ]
