"""`TextEmbedder` over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

from services.candidates.ports import Embedded, EncoderNote
from shared.errors import DependencyUnavailable, ModelMismatch, NotFound
from shared.rpc import client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import grpc.aio

    from services.candidates.arrays import F32

COMPONENT = "embedding"
BATCH_TEXTS = 500
BATCH_BYTES = 4 * 1024 * 1024
TIMEOUT_S = {True: 10.0, False: 120.0}
"""Time that one call may take, by urgency, seconds."""


class GrpcEmbedder:
    """Embeds through the embedding service, in calls of at most 500 texts."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str], *, urgent: bool, version: str = "") -> Embedded:
        """Returns one vector per text, in order; NaN for texts that have none. See `TextEmbedder`.

        Raises:
            DependencyUnavailable: the embedding service does not answer.
            ModelNotReady: it has no model yet.
            ModelMismatch: it does not have that version.

        """
        try:
            return await self._embed(texts, urgent=urgent, version=version)
        except NotFound as error:
            raise ModelMismatch(
                f"the candidates model needs vectors of embedding {version}, which the embedding service does not "
                f"have: train anew ({error.message})"
            ) from error

    async def versions(self) -> list[EncoderNote]:
        """Returns the versions that the embedding service lists. See `VersionedEmbedder`.

        Raises:
            DependencyUnavailable: the embedding service does not answer.
            ModelNotReady: it has no model yet.

        """
        call = self._stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=TIMEOUT_S[True])
        answer = await client.call(call, COMPONENT)
        return [
            EncoderNote(one.version, dict(one.labels), dict(one.lineage), one.is_current) for one in answer.versions
        ]

    async def _embed(self, texts: Sequence[str], *, urgent: bool, version: str) -> Embedded:
        found: list[tuple[int, F32]] = []
        versions: set[str] = set()
        for places in _batches(texts):
            answer = await self._call([texts[place] for place in places], version, urgent=urgent)
            versions.update(model.version for model in answer.served_by.models if model.kind == "embedding")
            for place, one in zip(places, answer.embeddings, strict=True):
                if one.HasField("vector"):
                    found.append((place, np.frombuffer(one.vector.data, "<f4")))
        if len(versions) > 1 or (found and not versions):
            raise DependencyUnavailable(COMPONENT, "its answers do not name one version")
        if found:
            made_by, dim = versions.pop(), len(found[0][1])
        else:
            made_by, dim = await self._model(version)
        vectors = np.full((len(texts), dim), np.nan, np.float32)
        for place, vector in found:
            vectors[place] = vector
        return Embedded(vectors, made_by)

    async def _call(self, texts: list[str], version: str, *, urgent: bool) -> pb.EmbedResponse:
        priority = pb.PRIORITY_INTERACTIVE if urgent else pb.PRIORITY_BULK
        request = pb.EmbedRequest(texts=texts, priority=priority, model_version=version)
        return await client.call(self._stub.Embed(request, timeout=TIMEOUT_S[urgent]), COMPONENT)

    async def _model(self, version: str) -> tuple[str, int]:
        request = pb.GetModelInfoRequest(model_version=version)
        answer = await client.call(self._stub.GetModelInfo(request, timeout=TIMEOUT_S[True]), COMPONENT)
        return answer.version, answer.dim


def _batches(texts: Sequence[str]) -> Iterator[list[int]]:
    """Yields places of texts that go in one call; empty texts, which have no vector, in none."""
    places: list[int] = []
    size = 0
    for place, text in enumerate(texts):
        if not text.strip():
            continue
        length = len(text.encode())
        if places and (len(places) == BATCH_TEXTS or size + length > BATCH_BYTES):
            yield places
            places, size = [], 0
        places.append(place)
        size += length
    if places:
        yield places
