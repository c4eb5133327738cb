"""Text vectors over gRPC."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as pb_grpc

from services.ranker.ports import Embedded
from shared.errors import ModelMismatch, NotFound
from shared.rpc import client
from shared.rpc.convert import decode_vectors

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

COMPONENT = "embedding"


class GrpcEmbedding:
    """`TextEncoder` and `EncoderNews` over one channel to embedding."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub = pb_grpc.EmbeddingServiceStub(channel)

    async def embed(self, texts: Sequence[str], timeout_s: float, *, bulk: bool = False, version: str = "") -> Embedded:
        """Returns one vector per text; see `TextEncoder`."""
        priority = pb.PRIORITY_BULK if bulk else pb.PRIORITY_INTERACTIVE
        request = pb.EmbedRequest(texts=texts, priority=priority, model_version=version)
        try:
            reply = await client.call(self._stub.Embed(request, timeout=timeout_s), COMPONENT)
        except NotFound as error:
            raise ModelMismatch(
                f"the model needs vectors of embedding {version}, which the embedding service does not have: train anew"
            ) from error
        ok = np.array([one.HasField("vector") for one in reply.embeddings], dtype=np.bool_)
        dim = max((one.vector.dim for one in reply.embeddings), default=0)
        vectors = np.zeros((len(ok), dim), dtype=np.float32)
        vectors[ok] = decode_vectors([one.vector for one in reply.embeddings if one.HasField("vector")], dim)
        versions = {one.kind: one.version for one in reply.served_by.models}
        return Embedded(vectors, ok, versions.get("embedding", ""))

    async def current_version(self, timeout_s: float) -> str:
        """Returns the encoder's current version; see `EncoderNews`."""
        reply = await client.call(self._stub.GetModelInfo(pb.GetModelInfoRequest(), timeout=timeout_s), COMPONENT)
        return str(reply.version)
