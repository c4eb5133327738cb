"""The RPC methods of EmbeddingService: decode, call, encode."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding import convert, convert_attribution
from services.embedding.batching.job import Priority
from services.embedding.serving.feed import in_order
from shared.offload import offload, until_set

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fusionrec.embedding.v1 import embedding_service_pb2 as pb

    from services.embedding.serving.patience import Patience
    from services.embedding.serving.state import ServingState
    from services.embedding.versions.keeper import Versions

ELEMENTS_PER_TEXT = 5
"""A text of 64 KiB takes as long to decode, 0.1 milliseconds, as that many of the elements that `offload` counts."""

FEED_AHEAD = 3
"""Lists of one feed that are worked on at a time: enough that a feed keeps the engine busy while lists travel."""


class EmbeddingServicer(rpc.EmbeddingServiceServicer):
    """Answers the calls with what `versions` lends; feeds with `patience`."""

    def __init__(self, versions: Versions, state: ServingState, patience: Patience) -> None:
        self._versions = versions
        self._state = state
        self._patience = patience

    async def Embed(self, request: pb.EmbedRequest, _context: Any) -> pb.EmbedResponse:  # noqa: N802 (gRPC's name)
        """Embeds one list."""
        texts = await _decoded(request.texts)
        priority = convert.decode_priority(request.priority)
        async with self._versions.using(convert.decode_version(request.model_version)) as served:
            outcome = await served.embedder.embed(texts, priority)
        return await offload(len(texts), convert.encode_outcome, outcome)

    async def EmbedStream(  # noqa: N802 (gRPC's name)
        self, requests: AsyncIterator[pb.EmbedStreamRequest], _context: Any
    ) -> AsyncIterator[pb.EmbedStreamResponse]:
        """Embeds list after list; a feed is bulk work, and waits where the queue is full: so its sender is slowed."""

        async def answer(request: pb.EmbedStreamRequest) -> pb.EmbedStreamResponse:
            texts = await _decoded(request.texts)
            async with self._versions.using(convert.decode_version(request.model_version)) as served:
                outcome = await served.embedder.embed(texts, Priority.BULK, self._patience)
            return await offload(len(texts), convert.encode_stream_outcome, request.batch_id, outcome)

        async for response in in_order(until_set(requests, self._state.stopping), answer, ahead=FEED_AHEAD):
            yield response

    async def Attribute(self, request: pb.AttributeRequest, _context: Any) -> pb.AttributeResponse:  # noqa: N802 (gRPC's name)
        """Explains one similarity."""
        question = convert_attribution.decode_question(request)
        async with self._versions.using(convert.decode_version(request.model_version)) as served:
            attribution = await served.explainer.explain(question)
        # Attention alone may be millions of numbers.
        return await asyncio.to_thread(convert_attribution.encode_attribution, attribution, single=question.single)

    async def GetModelInfo(self, request: pb.GetModelInfoRequest, _context: Any) -> pb.GetModelInfoResponse:  # noqa: N802 (gRPC's name)
        """Says what a version is, and which there are."""
        async with self._versions.using(convert.decode_version(request.model_version)) as served:
            embedder = served.embedder
        known = await self._versions.known()
        return convert.encode_facts(embedder.facts, embedder.cached_texts, known, self._versions.reason)


async def _decoded(texts: Sequence[str]) -> list[str]:
    return await offload(ELEMENTS_PER_TEXT * len(texts), convert.decode_texts, texts)
