"""The RPC methods of EmbeddingService: decode, call, encode."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding import convert
from services.embedding.batching.job import Priority
from shared.errors import NotServedYet

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fusionrec.embedding.v1 import embedding_service_pb2 as pb

    from services.embedding.serving.state import ServingState


class EmbeddingServicer(rpc.EmbeddingServiceServicer):
    """Answers the calls with what `state` serves with."""

    def __init__(self, state: ServingState) -> None:
        self._state = state

    async def Embed(self, request: pb.EmbedRequest, _context: Any) -> pb.EmbedResponse:  # noqa: N802 (gRPC's name)
        """Embeds one list."""
        texts = convert.decode_texts(request.texts)
        priority = convert.decode_priority(request.priority)
        return convert.encode_outcome(await self._state.embedder().embed(texts, priority))

    async def EmbedStream(  # noqa: N802 (gRPC's name)
        self, requests: AsyncIterator[pb.EmbedStreamRequest], _context: Any
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Embeds list after list; a feed is bulk work."""
        async for request in self._state.until_stopped(requests):
            texts = convert.decode_texts(request.texts)
            outcome = await self._state.embedder().embed(texts, Priority.BULK)
            yield convert.encode_stream_outcome(request.batch_id, outcome)

    async def Attribute(self, _request: pb.AttributeRequest, _context: Any) -> pb.AttributeResponse:  # noqa: N802 (gRPC's name)
        """Not served yet."""
        raise NotServedYet("Attribute", "token attributions (integrated gradients)")

    async def GetModelInfo(self, _request: pb.GetModelInfoRequest, _context: Any) -> pb.GetModelInfoResponse:  # noqa: N802 (gRPC's name)
        """Says what is loaded."""
        embedder = self._state.embedder()
        return convert.encode_facts(embedder.facts, embedder.cached_texts)
