"""The RPCs of the ranker: decode, call, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.ranker.v1 import ranker_service_pb2_grpc as pb_grpc

from services.ranker import convert, convert_replies
from services.ranker.info import describe
from shared.data.validation import check_id
from shared.offload import offload

if TYPE_CHECKING:
    from fusionrec.ranker.v1 import ranker_service_pb2 as pb

    from services.ranker.ports import EncoderNews
    from services.ranker.recommender import Recommender
    from shared.rpc.handlers import Context


class RankerServicer(pb_grpc.RankerServiceServicer):
    """fusionrec.ranker.v1.RankerService."""

    def __init__(self, recommender: Recommender, encoders: EncoderNews) -> None:
        self._recommender = recommender
        self._encoders = encoders

    async def Recommend(self, request: pb.RecommendRequest, context: Context) -> pb.RecommendResponse:  # noqa: ARG002, N802 (gRPC's signature)
        """The best items for a user."""
        answer = await self._recommender.recommend(
            await offload(convert.elements([request]), convert.decode_recommend, request)
        )
        elements = convert_replies.elements([answer])
        titles = request.include_titles
        return await offload(elements, convert_replies.encode_recommendations, answer, include_titles=titles)

    async def BatchRecommend(  # noqa: N802 (gRPC's name)
        self,
        request: pb.BatchRecommendRequest,
        context: Context,  # noqa: ARG002 (gRPC's signature)
    ) -> pb.BatchRecommendResponse:
        """The best items for many users."""
        requests = await offload(convert.elements(request.requests), convert.decode_batch, request)
        answers = await self._recommender.batch(requests)
        titles = [one.include_titles for one in requests]
        return await offload(convert_replies.elements(answers), convert_replies.encode_batch, answers, titles)

    async def Rank(self, request: pb.RankRequest, context: Context) -> pb.RankResponse:  # noqa: ARG002, N802 (gRPC's signature)
        """The caller's own candidates, in the best order for a user."""
        elements = convert.elements_of(request.context, request.item_ids)
        answer = await self._recommender.rank(await offload(elements, convert.decode_rank, request))
        return await offload(convert_replies.elements([answer]), convert_replies.encode_ranking, answer)

    async def Explain(self, request: pb.ExplainRequest, context: Context) -> pb.ExplainResponse:  # noqa: ARG002, N802 (gRPC's signature)
        """Why these items have these scores for this user."""
        elements = convert.elements_of(request.context, request.item_ids)
        answer = await self._recommender.explain(await offload(elements, convert.decode_explain, request))
        return await offload(convert_replies.elements([answer]), convert_replies.encode_explanations, answer)

    async def GetModelInfo(self, request: pb.GetModelInfoRequest, context: Context) -> pb.GetModelInfoResponse:  # noqa: ARG002, N802 (gRPC's signature)
        """The fusion models that are loaded."""
        version = check_id(request.model_version, "model_version", required=False)
        ranker = self._recommender
        info = await describe(ranker.shelf, ranker.live, self._encoders, version, ranker.selector.book.reason)
        return convert_replies.encode_info(info)
