"""Evidence to protobuf in bulk.

An answer has some thousand `SourceEvidence` messages; to build each of them in Python took most of a call's time. They
are all alike, so their bytes are written as one array and parsed by protobuf, a candidate at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import I64
    from services.candidates.merge.evidence import Evidence

Bytes = NDArray[np.uint8]

_VARINT, _LENGTH, _FIXED32 = 0, 2, 5
"""Wire types (https://protobuf.dev/programming-guides/encoding/)."""
_RANK_BYTES = 3
"""Ranks are varints of this length, padded with continuation bytes: up to 2,097,151."""
_SCORE_BYTES = 4
_MAX_LENGTH = 0x7F
"""Lengths up to here take one byte."""


@dataclass(frozen=True, eq=False)
class _Layout:
    """One candidate's evidence of all sources as bytes, with places left for ranks and scores."""

    template: Bytes
    widths: I64
    """Bytes of each source's record."""
    rank_at: I64
    """Where each source's rank begins."""
    score_at: I64
    """Where each source's score begins."""


def encode_evidence(evidence: Evidence) -> list[bytes]:
    """Returns each candidate's evidence: a serialised `Candidate` of which only `evidence` is set.

    Sources that cannot score an item (NaN) are left out.
    """
    if not evidence.names:
        return [b""] * len(evidence.ranks)
    layout = _layout(evidence.names)
    records = np.tile(layout.template, (len(evidence.ranks), 1))
    for place in range(_RANK_BYTES):
        more = 0x80 if place < _RANK_BYTES - 1 else 0
        records[:, layout.rank_at + place] = (evidence.ranks >> (7 * place)) & 0x7F | more
    scores = np.ascontiguousarray(evidence.scores, "<f4").view(np.uint8).reshape(*evidence.scores.shape, _SCORE_BYTES)
    records[:, layout.score_at[:, None] + np.arange(_SCORE_BYTES)] = scores
    scored = ~np.isnan(evidence.scores)
    joined = records[np.repeat(scored, layout.widths, axis=1)].tobytes()
    ends = np.cumsum(scored @ layout.widths).tolist()
    return [joined[start:end] for start, end in zip([0, *ends], ends, strict=False)]


@lru_cache(maxsize=64)
def _layout(names: Sequence[str]) -> _Layout:
    records = [_record(name.encode()) for name in names]
    widths = np.array([len(record) for record in records], np.int64)
    ends = np.cumsum(widths)
    score_at = ends - _SCORE_BYTES
    rank_at = score_at - 1 - _RANK_BYTES
    return _Layout(np.frombuffer(b"".join(records), np.uint8), widths, rank_at, score_at)


def _record(name: bytes) -> bytes:
    """Returns one field `evidence` of a `Candidate`: source, rank and score, the last two zero."""
    message = pb.SourceEvidence
    fields = (
        _tag(message.SOURCE_FIELD_NUMBER, _LENGTH) + _length(name) + name,
        _tag(message.RANK_FIELD_NUMBER, _VARINT) + bytes(_RANK_BYTES),
        _tag(message.SCORE_FIELD_NUMBER, _FIXED32) + bytes(_SCORE_BYTES),
    )
    body = b"".join(fields)
    return _tag(pb.Candidate.EVIDENCE_FIELD_NUMBER, _LENGTH) + _length(body) + body


def _tag(field_number: int, wire_type: int) -> bytes:
    return bytes([field_number << 3 | wire_type])


def _length(value: bytes) -> bytes:
    if len(value) > _MAX_LENGTH:
        raise ValueError(f"the name of a source is too long for one byte of length: {value[:80]!r}")
    return bytes([len(value)])
