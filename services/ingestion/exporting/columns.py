"""Events as Arrow columns."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from shared.exports.events import EVENT_SCHEMA, TYPE_NAMES, UTC_US

if TYPE_CHECKING:
    from services.ingestion.ports import EventColumns


def event_batch(events: EventColumns) -> pa.RecordBatch:
    """Returns the columns of `EVENT_SCHEMA`; what is empty becomes null."""
    kinds = pa.array(np.asarray(events.type, np.int8) - 1)
    return pa.RecordBatch.from_arrays(
        [
            pa.array(events.sequence, pa.int64()),
            pa.array(events.user_id, pa.string()),
            pa.array(events.item_id, pa.string()),
            pa.DictionaryArray.from_arrays(kinds, pa.array(TYPE_NAMES)),
            pa.array(events.value, pa.float64()),
            pa.array(events.timestamp_us, pa.int64()).cast(UTC_US),
            pa.array([text or None for text in events.text], pa.string()),
            pa.array([session or None for session in events.session_id], pa.string()),
            pa.array([token or None for token in events.attribution_token], pa.string()),
            pa.array([position or None for position in events.position], pa.int32()),
            pa.array(events.propensity, pa.float64()),
        ],
        schema=EVENT_SCHEMA,
    )
