"""The candidates service over gRPC."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from fusionrec.common.v1 import event_pb2, item_pb2

from services.evaluator.adapters.versions import decode_version
from services.evaluator.ports import Answer, CandidatesInfo, Scores
from shared.rpc.client import call
from shared.rpc.convert import encode_history

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from services.evaluator.ports import Question

COMPONENT = "candidates"


class GrpcCandidates:
    """Asks the candidates service at the other end of `channel`; each call has `timeout_s` seconds."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = pb_grpc.CandidatesServiceStub(channel)
        self._timeout_s = timeout_s

    async def info(self, version: str = "") -> CandidatesInfo:
        """See `ports.Candidates`."""
        request = pb.GetIndexInfoRequest(model_version=version)
        reply = await call(self._stub.GetIndexInfo(request, timeout=self._timeout_s), COMPONENT)
        return CandidatesInfo(
            embedding_version=reply.embedding_version,
            sources=tuple(one.name for one in reply.sources if one.proposes),
            versions=tuple(decode_version(one) for one in reply.versions),
        )

    async def retrieve(self, question: Question, *, version: str, source: str, k: int) -> Answer:
        """See `ports.Candidates`."""
        request = _request(question, version, source)
        request.k = k
        request.filter.CopyFrom(item_pb2.ItemFilter(exclude_item_ids=sorted(question.exclude)))
        reply = await call(self._stub.GetCandidates(request, timeout=self._timeout_s), COMPONENT)
        return Answer(tuple(reply.columns.item_ids), _failed(reply))

    async def score(self, question: Question, *, version: str, source: str, item_ids: Sequence[str]) -> Scores:
        """See `ports.Candidates`."""
        request = _request(question, version, source)
        request.k = len(item_ids)
        request.score_item_ids.extend(item_ids)
        reply = await call(self._stub.GetCandidates(request, timeout=self._timeout_s), COMPONENT)
        (column,) = reply.columns.evidence
        values = np.frombuffer(column.scores, "<f4").tolist()
        pairs = zip(reply.columns.item_ids, values, strict=True)
        return Scores({item_id: score for item_id, score in pairs if math.isfinite(score)}, _failed(reply))


def _request(question: Question, version: str, source: str) -> pb.GetCandidatesRequest:
    request = pb.GetCandidatesRequest(
        history=encode_history(question.history),
        sources=[source],
        seen_policy=event_pb2.SEEN_POLICY_HIDE_ALL_SEEN,
        model_version=version,
        by_column=True,
    )
    if question.as_of is not None:
        request.as_of.FromDatetime(question.as_of)
    return request


def _failed(reply: pb.GetCandidatesResponse) -> tuple[str, ...]:
    return tuple(f"source:{one.source}" for one in reply.sources if one.failed)
