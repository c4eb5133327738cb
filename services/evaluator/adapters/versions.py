"""Versions, as candidates and ranker tell them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.evaluator.ports import Version

if TYPE_CHECKING:
    from fusionrec.common.v1 import serving_pb2


def decode_version(message: serving_pb2.VersionInfo) -> Version:
    """Returns the domain's version."""
    return Version(message.version, dict(message.labels), dict(message.lineage), message.data_sequence)
