"""Times and vectors, protobuf to domain and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from fusionrec.common.v1 import vector_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from shared.data import limits
from shared.data.validation import check_int
from shared.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def decode_time(message: Timestamp, field: str) -> datetime:
    """Returns a timezone-aware UTC time.

    Raises:
        InvalidField: not a valid protobuf timestamp.

    """
    try:
        # As Timestamp.ToDatetime, without its detour over timedelta.
        return datetime.fromtimestamp(message.seconds, UTC).replace(microsecond=message.nanos // 1000)
    except (ValueError, OverflowError, OSError) as error:
        hint = "send seconds since 1970 in `seconds`, 0..999999999 in `nanos`"
        raise InvalidField(field, message.seconds, "a valid google.protobuf.Timestamp", hint) from error


def encode_time(value: datetime) -> Timestamp:
    """Returns the protobuf timestamp of a timezone-aware time."""
    seconds, nanos = seconds_and_nanos(value)
    return Timestamp(seconds=seconds, nanos=nanos)


def seconds_and_nanos(value: datetime) -> tuple[int, int]:
    """Returns the two fields of the timestamp of a timezone-aware time."""
    since = value - _EPOCH
    return since.days * 86_400 + since.seconds, since.microseconds * 1_000


def decode_vector(message: vector_pb2.Vector, field: str) -> NDArray[np.float32]:
    """Returns a float32 array of shape (dim,).

    Raises:
        InvalidField: the bytes do not fit `dim`, or a value is NaN or infinite.
        LimitExceeded: more than 4096 values.

    """
    dim = check_int(message.dim, f"{field}.dim", 1, limits.MAX_VECTOR_DIM)
    if len(message.data) != 4 * dim:
        limit = f"{4 * dim} bytes (4 * dim)"
        raise InvalidField(f"{field}.data", f"{len(message.data)} bytes", limit, "pack float32 little-endian")
    vector = np.frombuffer(message.data, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise InvalidField(f"{field}.data", "NaN or infinity", "finite values", "check what made the vector")
    return vector


def decode_vectors(
    messages: Sequence[vector_pb2.Vector], dim: int, field: str = "embeddings.vector"
) -> NDArray[np.float32]:
    """Returns vectors that all have `dim` values as one array, float32 (n, dim); raises as `decode_vector`."""
    packed = b"".join(one.data for one in messages)
    if len(packed) == 4 * dim * len(messages) and all(one.dim == dim for one in messages):
        stacked = np.frombuffer(packed, dtype="<f4").reshape(len(messages), dim)
        if dim <= limits.MAX_VECTOR_DIM and np.isfinite(stacked).all():
            return stacked.astype(np.float32)
    # One of them is wrong: it is named.
    rows = [decode_vector(one, field) for one in messages]
    return np.stack(rows) if rows else np.zeros((0, dim), dtype=np.float32)


def encode_vector(vector: NDArray[np.float32]) -> vector_pb2.Vector:
    """Returns the message of a float32 array of shape (dim,)."""
    return vector_pb2.Vector(data=vector.astype("<f4", copy=False).tobytes(), dim=vector.shape[0])
