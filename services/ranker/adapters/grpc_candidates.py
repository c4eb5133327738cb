"""Candidates over gRPC, decoded by column."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.common.v1 import event_pb2

from services.ranker.nouns import CandidateTable, VersionNote
from services.ranker.ports import CandidatesInfo
from shared.rpc import client
from shared.rpc.convert import decode_time, encode_filter, encode_history, encode_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio
    from fusionrec.common.v1 import serving_pb2

    from services.ranker.nouns import CandidateQuery

COMPONENT = "candidates"


class GrpcCandidates:
    """`CandidateFinder` over one channel to candidates."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.CandidatesServiceStub(channel)

    async def find(self, query: CandidateQuery, timeout_s: float) -> CandidateTable:
        """Returns candidates; see `CandidateFinder`."""
        reply = await client.call(self._stub.GetCandidates(_encode(query), timeout=timeout_s), COMPONENT)
        return _decode(reply)

    async def find_many(self, queries: Sequence[CandidateQuery], timeout_s: float) -> list[CandidateTable]:
        """Returns the answers to many queries; see `CandidateFinder`."""
        request = pb.BatchGetCandidatesRequest(requests=[_encode(query) for query in queries])
        reply = await client.call(self._stub.BatchGetCandidates(request, timeout=timeout_s), COMPONENT)
        return [_decode(one) for one in reply.responses]

    async def info(self, timeout_s: float) -> CandidatesInfo:
        """Returns what is loaded; see `CandidateFinder`."""
        reply = await client.call(self._stub.GetIndexInfo(pb.GetIndexInfoRequest(), timeout=timeout_s), COMPONENT)
        versions = tuple(_decode_version(one) for one in reply.versions)
        return CandidatesInfo(reply.model_version, reply.embedding_version, versions)


def _encode(query: CandidateQuery) -> pb.GetCandidatesRequest:
    return pb.GetCandidatesRequest(
        user_id=query.user_id,
        history=encode_history(query.history),
        k=query.k,
        sources=query.sources,
        filter=None if query.item_filter is None else encode_filter(query.item_filter),
        seen_policy=event_pb2.SeenPolicy.ValueType(query.seen_policy or 0),
        score_item_ids=query.score_item_ids,
        model_version=query.model_version,
        as_of=None if query.as_of is None else encode_time(query.as_of),
        by_column=True,
    )


def _decode(reply: pb.GetCandidatesResponse) -> CandidateTable:
    columns = reply.columns
    versions = {one.kind: one.version for one in reply.served_by.models}
    scores = {one.source: np.frombuffer(one.scores, "<f4") for one in columns.evidence}
    ranks = {one.source: np.frombuffer(one.ranks, "<i4") for one in columns.evidence}
    return CandidateTable(
        item_ids=list(columns.item_ids),
        merged=np.frombuffer(columns.scores, "<f4"),
        is_new=np.frombuffer(columns.is_new, np.bool_),
        scores=scores,
        ranks=ranks,
        failed={one.source: one.reason for one in reply.sources if one.failed},
        version=versions.get("candidates", ""),
        index_version=reply.served_by.index_version,
    )


def _decode_version(message: serving_pb2.VersionInfo) -> VersionNote:
    return VersionNote(
        version=message.version,
        created_at=decode_time(message.created_at, "versions.created_at"),
        labels=dict(message.labels),
        lineage=dict(message.lineage),
        data_sequence=message.data_sequence,
        is_current=message.is_current,
    )
