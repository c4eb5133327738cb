"""RPC methods: decode, call, encode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc

from services.candidates import convert
from services.candidates.convert_answers import AnswerEncoder
from shared.offload import offload

if TYPE_CHECKING:
    from fusionrec.candidates.v1 import candidates_service_pb2 as pb

    from services.candidates.service import CandidatesService
    from shared.rpc.handlers import Context

INLINE_CANDIDATES = 500
"""Up to this many are encoded in the event loop, within a millisecond: a thread would take a tenth of that again."""


class CandidatesServicer(pb_grpc.CandidatesServiceServicer):
    """`fusionrec.candidates.v1.CandidatesService`."""

    def __init__(self, service: CandidatesService) -> None:
        self._service = service
        self._encoder = AnswerEncoder()

    async def GetCandidates(  # noqa: N802 (name of the RPC)
        self, request: pb.GetCandidatesRequest, context: Context
    ) -> pb.GetCandidatesResponse:
        """Returns the items most worth ranking for one user."""
        del context
        query = await offload(convert.elements([request]), convert.decode_candidates, request)
        answer = await self._service.get_candidates(query)
        if len(answer.candidates.item_ids) > INLINE_CANDIDATES and not request.by_column:
            return await asyncio.to_thread(self._encoder.encode, answer, by_column=False)
        return self._encoder.encode(answer, by_column=request.by_column)

    async def BatchGetCandidates(  # noqa: N802 (name of the RPC)
        self, request: pb.BatchGetCandidatesRequest, context: Context
    ) -> pb.BatchGetCandidatesResponse:
        """Returns the same for many users."""
        del context
        queries = await offload(convert.elements(request.requests), convert.decode_batch, request)
        answers = await self._service.batch_get_candidates(queries)
        by_column = [one.by_column for one in request.requests]
        return await asyncio.to_thread(self._encoder.encode_batch, answers, by_column)

    async def GetSimilarItems(  # noqa: N802 (name of the RPC)
        self, request: pb.GetSimilarItemsRequest, context: Context
    ) -> pb.GetSimilarItemsResponse:
        """Returns the neighbours of an item, a vector or a text."""
        del context
        return convert.encode_similar(await self._service.get_similar_items(convert.decode_similar(request)))

    async def GetSimilarUsers(  # noqa: N802 (name of the RPC)
        self, request: pb.GetSimilarUsersRequest, context: Context
    ) -> pb.GetSimilarUsersResponse:
        """Returns users who like what a user likes."""
        del context
        query = await offload(len(request.history.events), convert.decode_users, request)
        return convert.encode_users(await self._service.get_similar_users(query))

    async def GetIndexInfo(  # noqa: N802 (name of the RPC)
        self, request: pb.GetIndexInfoRequest, context: Context
    ) -> pb.GetIndexInfoResponse:
        """Returns what is loaded."""
        del context
        return convert.encode_info(await self._service.info(convert.decode_info(request)))
