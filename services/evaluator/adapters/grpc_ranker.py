"""The ranker over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from fusionrec.ranker.v1 import ranker_service_pb2_grpc as pb_grpc

from services.evaluator.adapters.versions import decode_version
from services.evaluator.ports import Answer, RankerInfo
from shared.rpc.client import call
from shared.rpc.convert import encode_history

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from services.evaluator.ports import Question

COMPONENT = "ranker"


class GrpcRanker:
    """Asks the ranker at the other end of `channel`; each call has `timeout_s` seconds."""

    def __init__(self, channel: grpc.aio.Channel, timeout_s: float) -> None:
        self._stub = pb_grpc.RankerServiceStub(channel)
        self._timeout_s = timeout_s

    async def info(self, version: str = "") -> RankerInfo:
        """See `ports.Ranker`."""
        request = pb.GetModelInfoRequest(model_version=version)
        reply = await call(self._stub.GetModelInfo(request, timeout=self._timeout_s), COMPONENT)
        return RankerInfo(
            embedding_version=reply.embedding_version,
            variants=tuple(one.name for one in reply.fusions),
            default_variant=next((one.name for one in reply.fusions if one.is_default), ""),
            versions=tuple(decode_version(one) for one in reply.versions),
        )

    async def recommend(self, question: Question, *, version: str, variant: str, k: int) -> Answer:
        """See `ports.Ranker`. No impressions are recorded: measuring must not change what is measured."""
        request = pb.RecommendRequest(
            context=_context(question, version, variant),
            k=k,
            filter=item_pb2.ItemFilter(exclude_item_ids=sorted(question.exclude)),
            seen_policy=event_pb2.SEEN_POLICY_HIDE_ALL_SEEN,
            skip_impressions=True,
        )
        reply = await call(self._stub.Recommend(request, timeout=self._timeout_s), COMPONENT)
        return Answer(
            tuple(one.item_id for one in reply.results), tuple(sorted({one.component for one in reply.degraded}))
        )

    async def rank(self, question: Question, *, version: str, variant: str, item_ids: Sequence[str], k: int) -> Answer:
        """See `ports.Ranker`."""
        request = pb.RankRequest(context=_context(question, version, variant), item_ids=item_ids, k=k)
        reply = await call(self._stub.Rank(request, timeout=self._timeout_s), COMPONENT)
        return Answer(
            tuple(one.item_id for one in reply.results), tuple(sorted({one.component for one in reply.degraded}))
        )


def _context(question: Question, version: str, variant: str) -> pb.RankingContext:
    # An empty history is set as well: the question of a user never seen, not of a user without a name.
    context = pb.RankingContext(history=encode_history(question.history), variant=variant, model_version=version)
    if question.as_of is not None:
        context.as_of.FromDatetime(question.as_of)
    return context
