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
    since = value - _EPOCH
    return Timestamp(seconds=since.days * 86_400 + since.seconds, nanos=since.microseconds * 1_000)


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


def encode_vector(vector: NDArray[np.float32]) -> vector_pb2.Vector:
    """Returns the message of a float32 array of shape (dim,)."""
    return vector_pb2.Vector(data=vector.astype("<f4", copy=False).tobytes(), dim=vector.shape[0])
