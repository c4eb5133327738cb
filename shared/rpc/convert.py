"""The shared nouns, protobuf to domain and back. Decoding checks every limit that the contract states.

Total: every valid message decodes, every domain value encodes; round trips are tested.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.common.v1 import serving_pb2

from shared.rpc.context import request_id
from shared.rpc.convert_basic import decode_time, decode_vector, decode_vectors, encode_time, encode_vector
from shared.rpc.convert_event import (
    decode_event,
    decode_event_type,
    decode_history,
    decode_seen_policy,
    encode_event,
    encode_history,
    read_event,
)
from shared.rpc.convert_item import decode_filter, decode_item, encode_attribute, encode_filter, encode_item

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from shared.telemetry.stages import StageTime

__all__ = [
    "decode_event",
    "decode_event_type",
    "decode_filter",
    "decode_history",
    "decode_item",
    "decode_seen_policy",
    "decode_time",
    "decode_vector",
    "decode_vectors",
    "encode_attribute",
    "encode_event",
    "encode_filter",
    "encode_history",
    "encode_item",
    "encode_served_by",
    "encode_time",
    "encode_vector",
    "read_event",
]


def encode_served_by(
    models: Mapping[str, str], stages: Iterable[StageTime], index_version: str = ""
) -> serving_pb2.ServedBy:
    """Returns who made a reply; the request id is that of the running call."""
    return serving_pb2.ServedBy(
        models=[serving_pb2.ModelVersion(kind=kind, version=version) for kind, version in models.items()],
        index_version=index_version,
        timings=[
            serving_pb2.StageTiming(stage=one.stage, queue_us=one.queue_us, compute_us=one.compute_us) for one in stages
        ],
        request_id=request_id(),
    )
