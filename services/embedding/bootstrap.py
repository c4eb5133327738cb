"""The composition root of the embedding service: the only file that names concrete adapters."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import structlog
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding.adapters.keras_bert import KerasModelLoader
from services.embedding.batching.batcher import Batcher
from services.embedding.cache.lru import VectorCache
from services.embedding.encoders.model import ModelUnusable
from services.embedding.servicer import EmbeddingServicer
from services.embedding.serving.embedder import Embedder
from services.embedding.serving.state import ServingState
from shared.errors import ShuttingDown
from shared.rpc.context import seconds_left

if TYPE_CHECKING:
    import grpc.aio

    from services.embedding.ports import LoadedModel, ModelLoader
    from services.embedding.settings import EmbeddingSettings
    from shared.rpc.server import Lifecycle

SERVICE = "embedding"

log = structlog.get_logger(__name__)


class EmbeddingApp:
    """The service as the runner sees it."""

    service_names: tuple[str, ...] = (pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name,)

    def __init__(self, settings: EmbeddingSettings, loader: ModelLoader) -> None:
        self._settings = settings
        self._loader = loader
        self._state = ServingState()
        self._batcher: Batcher | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        rpc.add_EmbeddingServiceServicer_to_server(EmbeddingServicer(self._state), server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Loads and warms the model off the event loop; a model that cannot be used leaves the process up."""
        self._state.stopping = lifecycle.stopping
        started = time.perf_counter()
        try:
            model = await asyncio.to_thread(self._load)
        except ShuttingDown:
            return
        except ModelUnusable as unusable:
            self._state.reason = str(unusable)
            cause = repr(unusable.__cause__)
            log.error("model unusable", model=self._settings.model, reason=str(unusable), cause=cause)  # noqa: TRY400 (a wrong folder is no defect: a line, not a traceback)
            await lifecycle.not_ready(str(unusable))
            return
        if lifecycle.stopping.is_set():
            return
        self._serve_with(model)
        facts = model.encoder.facts
        seconds = round(time.perf_counter() - started, 1)
        log.info("model warm", version=facts.version, family=facts.family, engine=facts.engine, seconds=seconds)
        await lifecycle.ready()

    async def stop(self) -> None:
        """Ends the batcher's thread."""
        if self._batcher is not None:
            await asyncio.to_thread(self._batcher.close)

    def _load(self) -> LoadedModel:
        model = self._loader.load(self._state.go_on)
        log.info("model loaded, warming up", shapes=len(self._settings.xla_shapes))
        model.encoder.warm(self._state.go_on)
        return model

    def _serve_with(self, model: LoadedModel) -> None:
        settings = self._settings
        self._batcher = Batcher(
            model.encoder,
            buckets=settings.buckets,
            batch_texts=settings.batch_texts,
            batch_tokens=settings.batch_tokens,
            queue_texts=settings.queue_texts,
        )
        cache = VectorCache(settings.cache_texts)
        self._state.serve_with(Embedder(model.tokenizer, self._batcher, cache, model.encoder.facts, seconds_left))


def build(settings: EmbeddingSettings) -> EmbeddingApp:
    """Returns the service, wired."""
    loader = KerasModelLoader(
        settings.model,
        max_tokens=settings.max_tokens,
        shapes=settings.xla_shapes,
        threads=settings.intra_op_threads,
    )
    return EmbeddingApp(settings, loader)
