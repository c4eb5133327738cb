"""The composition root of the embedding service: the only file that names concrete adapters."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import structlog
from fusionrec.embedding.v1 import embedding_service_pb2 as pb
from fusionrec.embedding.v1 import embedding_service_pb2_grpc as rpc

from services.embedding.adapters.base_model import BaseModel
from services.embedding.adapters.keras_bert_kind import BertKind
from services.embedding.adapters.keras_gpt import GptKind
from services.embedding.adapters.keras_start import has_gpu
from services.embedding.attribution.desk import Desk
from services.embedding.attribution.explainer import Explainer
from services.embedding.batching.batcher import Batcher
from services.embedding.cache.file import VectorFile
from services.embedding.cache.lru import VectorCache
from services.embedding.encoders import term_kind
from services.embedding.encoders.artifact import ARTIFACT_KIND
from services.embedding.encoders.model import ModelUnusable
from services.embedding.encoders.registry import Encoders
from services.embedding.servicer import EmbeddingServicer
from services.embedding.serving.embedder import Embedder
from services.embedding.serving.patience import Patience
from services.embedding.serving.state import ServingState
from services.embedding.versions.keeper import Versions
from services.embedding.versions.served import Served
from services.embedding.versions.source import VersionSource
from shared.artifacts import ArtifactStore, ArtifactWatcher
from shared.errors import ShuttingDown
from shared.rpc.context import seconds_left

if TYPE_CHECKING:
    import grpc.aio

    from services.embedding.encoders.model import ModelFacts
    from services.embedding.ports import LoadedModel
    from services.embedding.settings import EmbeddingSettings
    from shared.artifacts import Loaded
    from shared.rpc.server import Lifecycle

SERVICE = "embedding"

log = structlog.get_logger(__name__)


class EmbeddingApp:
    """The service as the runner sees it."""

    service_names: tuple[str, ...] = (pb.DESCRIPTOR.services_by_name["EmbeddingService"].full_name,)

    def __init__(self, settings: EmbeddingSettings) -> None:
        self._settings = settings
        self._file = VectorFile(settings.cache_file, settings.cache_file_mb) if settings.cache_file else None
        self._cache = VectorCache(settings.cache_texts, self._file)
        self._state = ServingState()
        self._desk = Desk(settings.attribute_queue, seconds_left)
        store = ArtifactStore(settings.artifacts) if settings.artifacts else None
        encoders = make_encoders(settings)
        base = BaseModel(settings.model, encoders, pooling=settings.pooling, max_tokens=settings.max_tokens)
        self._source = VersionSource(store, base, encoders)
        self._versions = Versions(
            self._source, self._serving, max_others=settings.loaded_versions, go_on=self._state.go_on
        )
        self._watcher = None if store is None else self._watch(store)
        self._watching: asyncio.Task[None] | None = None
        self._lifecycle: Lifecycle | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        patience = Patience(seconds_left, self._state)
        rpc.add_EmbeddingServiceServicer_to_server(EmbeddingServicer(self._versions, self._state, patience), server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Loads and warms the model off the event loop; a model that cannot be used leaves the process up."""
        self._lifecycle = lifecycle
        self._state.stopping = lifecycle.stopping
        if not await self._has_artifact():
            await self._start_base(lifecycle)
        if self._watcher is not None and not lifecycle.stopping.is_set():
            await self._watcher.check()
            self._watching = asyncio.create_task(self._watcher.run())

    async def stop(self) -> None:
        """Ends the watcher and the threads that compute; what the cache file has not written yet is written."""
        await asyncio.to_thread(self._desk.close)
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._versions.close()
        if self._file is not None:
            await asyncio.to_thread(self._file.close)

    async def _has_artifact(self) -> bool:
        try:
            return await asyncio.to_thread(self._source.has_current)
        except OSError:
            # It may have one: the watcher says that the store does not answer, and goes on asking.
            return True

    async def _start_base(self, lifecycle: Lifecycle) -> None:
        started = time.perf_counter()
        try:
            await self._versions.adopt_base()
        except ShuttingDown:
            return
        except ModelUnusable as unusable:
            self._versions.reason = str(unusable)
            cause = repr(unusable.__cause__)
            log.error("model unusable", model=self._settings.model, reason=str(unusable), cause=cause)  # noqa: TRY400 (a wrong folder is no defect: a line, not a traceback)
            await lifecycle.not_ready(str(unusable))
            return
        if not lifecycle.stopping.is_set():
            self._say_warm(time.perf_counter() - started)
            await lifecycle.ready()

    def _watch(self, store: ArtifactStore) -> ArtifactWatcher:
        return ArtifactWatcher(
            store,
            ARTIFACT_KIND,
            service=SERVICE,
            on_loaded=self._use,
            on_failed=self._cannot_use,
            poll_s=self._settings.artifacts_poll_s,
            optional=True,
        )

    async def _use(self, loaded: Loaded) -> None:
        started = time.perf_counter()
        await self._versions.adopt(loaded)
        self._say_warm(time.perf_counter() - started)
        if self._lifecycle is not None:
            await self._lifecycle.ready()

    async def _cannot_use(self, reason: str) -> None:
        current = self._versions.current
        self._versions.reason = reason
        if current is not None:
            log.warning("staying on the last good version", version=current.version, reason=reason)
        elif self._lifecycle is not None:
            log.error("model unusable", reason=reason)
            await self._lifecycle.not_ready(reason)

    def _say_warm(self, seconds: float) -> None:
        if self._versions.current is not None:
            facts = self._versions.current.embedder.facts
            what = {"version": facts.version, "encoder": facts.kind, "family": facts.family, "engine": facts.engine}
            log.info("model warm", **what, seconds=round(seconds, 1))

    def _serving(self, model: LoadedModel) -> Served:
        settings = self._settings
        batcher = Batcher(
            model.encoder,
            streams=_streams(settings, model.encoder.facts),
            buckets=settings.buckets,
            batch_texts=settings.batch_texts,
            batch_tokens=settings.batch_tokens,
            queue_texts=settings.queue_texts,
        )
        # One cache for all versions: its keys hold the version, and its bound is that of the memory.
        embedder = Embedder(model.tokenizer, batcher, self._cache, model.encoder.facts, seconds_left)
        version = model.encoder.facts.version
        explainer = Explainer(model.attributor, self._desk, version, max_tokens=settings.attribute_tokens)
        return Served(model, batcher, embedder, explainer)


def make_encoders(settings: EmbeddingSettings) -> Encoders:
    """Returns every kind of encoder, with the engines of the settings."""
    shapes = settings.xla_shapes
    threads = settings.intra_op_threads or max(1, _cores() // (settings.streams or _cores()))
    terms = term_kind.TermKind()
    return Encoders(
        {
            "bert": BertKind(shapes=shapes, threads=threads, batch_tokens=settings.batch_tokens),
            "gpt": GptKind(shapes=shapes, threads=threads),
            **dict.fromkeys(term_kind.NAMES, terms),
        }
    )


def build(settings: EmbeddingSettings) -> EmbeddingApp:
    """Returns the service, wired. Call it in the event loop."""
    return EmbeddingApp(settings)


def _streams(settings: EmbeddingSettings, facts: ModelFacts) -> int:
    if settings.streams:
        return settings.streams
    # The engine runs already, if it is TensorFlow: to ask it costs nothing.
    return 1 if facts.engine.startswith("tensorflow") and has_gpu() else _cores()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
