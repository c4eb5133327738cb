"""The composition root: the only file that names concrete adapters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.candidates.v1 import candidates_service_pb2_grpc as pb_grpc
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.adapters.grpc_embedder import GrpcEmbedder
from services.candidates.adapters.grpc_histories import GrpcHistories
from services.candidates.live.enricher import Enricher
from services.candidates.live.histories import LiveHistories
from services.candidates.live.learner import Learner
from services.candidates.live.version import LiveVersion
from services.candidates.merge.finder import CandidateFinder
from services.candidates.service import CandidatesService
from services.candidates.servicer import CandidatesServicer
from services.candidates.versions.keeper import Versions
from services.candidates.versions.version import KIND
from services.candidates.workers import Courtesy, Workers
from shared.artifacts import ArtifactStore, ArtifactWatcher
from shared.data.nouns import EventType
from shared.data.splits import Stage
from shared.errors import DependencyUnavailable
from shared.rpc.client import open_channel
from shared.rpc.feed import LogFeed, read_snapshot

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc.aio

    from services.candidates.adapters.parquet_log import ParquetLog
    from services.candidates.ports import AlsEngine, VersionedEmbedder
    from services.candidates.settings import CandidatesSettings
    from services.candidates.training.job import TrainingJob
    from services.candidates.training.quotas import QuotaLearner
    from services.candidates.versions.version import Version
    from shared.artifacts import Loaded, Manifest
    from shared.data.splits import Protocol
    from shared.rpc.server import Lifecycle
    from shared.telemetry.progress import JobProgress

SERVICE = "candidates"


def build(settings: CandidatesSettings, embedder: VersionedEmbedder | None = None) -> CandidatesApp:
    """Returns the service, not started yet; `embedder` replaces the embedding service. Call it in the event loop."""
    return CandidatesApp(settings, embedder)


def make_finder(settings: CandidatesSettings) -> CandidateFinder:
    """Returns what asks the sources and merges their lists, as the settings say."""
    return CandidateFinder(
        per_source=settings.per_source,
        rrf_k=settings.rrf_k,
        weights=settings.weights,
        new_item_share=settings.new_item_share,
        late_item_share=settings.late_item_share,
        default=settings.asked_sources,
        by_quotas=settings.merge == "quotas",
    )


class CandidatesApp:
    """What the runner runs; see `shared.rpc.server.ServiceApp`."""

    service_names: tuple[str, ...] = (pb.DESCRIPTOR.services_by_name["CandidatesService"].full_name,)

    def __init__(self, settings: CandidatesSettings, embedder: VersionedEmbedder | None = None) -> None:
        # The training job searches nothing: it need not wait for FAISS to be imported.
        from services.candidates.adapters.faiss_flat import FlatIndex, use_one_thread

        # One query is too small to share out: threads of BLAS and FAISS would only wait for each other.
        threadpool_limits(1, "blas")
        use_one_thread()
        self._settings = settings
        self._channels = [open_channel(settings.ingestion_address), open_channel(settings.embedding_address)]
        ingestion, embedding = self._channels
        self._feed = LogFeed(ingestion, exclude_types=[EventType.IMPRESSION])
        self._embedder = embedder or GrpcEmbedder(embedding)
        self._workers = Workers(settings.compute_threads, SERVICE)
        # Loading takes seconds: in a thread of its own it does not stand in the way of answers.
        self._loaders = Workers(1, f"{SERVICE}-load")
        self._histories = LiveHistories(
            GrpcHistories(ingestion, settings.history_events),
            max_users=settings.cached_users,
            max_events=settings.history_events,
        )
        store = ArtifactStore(settings.artifacts)
        self._versions = Versions(
            store,
            make_index=FlatIndex,
            builder=FaissIndexes(settings.index),
            make_live=self._make_live,
            workers=self._loaders,
            max_pinned=settings.pinned_versions,
            settle_s=settings.settle_s,
        )
        self._watcher = ArtifactWatcher(
            store,
            KIND,
            service=SERVICE,
            on_loaded=self._use,
            on_failed=self._cannot_use,
            poll_s=settings.artifacts_poll_s,
        )
        self._service = CandidatesService(
            versions=self._versions,
            finder=make_finder(settings),
            histories=self._histories,
            embedder=self._embedder,
            rules=settings.rules,
            workers=self._workers,
        )
        self._lifecycle: Lifecycle | None = None
        self._watching: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer to the server."""
        pb_grpc.add_CandidatesServiceServicer_to_server(CandidatesServicer(self._service), server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Loads the current version, if any, and watches for the next."""
        self._lifecycle = lifecycle
        await self._watcher.check()
        self._watching = asyncio.create_task(self._watcher.run())

    async def stop(self) -> None:
        """Ends background work and closes the channels."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        await self._versions.close()
        self._workers.close()
        self._loaders.close()
        for channel in self._channels:
            await channel.close()

    def _make_live(self, version: Version) -> LiveVersion:
        return LiveVersion(
            version,
            feed=self._feed,
            enricher=Enricher(version, self._embedder, self._workers),
            learner=Learner(version, self._histories, self._settings.rules, self._workers),
            builders=self._loaders,
            courtesy=Courtesy(self._workers),
            histories=self._histories,
            rules=self._settings.rules,
            limits=self._settings.live_limits,
        )

    async def _use(self, loaded: Loaded) -> None:
        await self._versions.adopt(loaded)
        if self._lifecycle is not None:
            await self._lifecycle.ready()

    async def _cannot_use(self, reason: str) -> None:
        self._versions.failed(reason)
        if self._lifecycle is not None and self._versions.live is None:
            await self._lifecycle.not_ready(reason)


def roll_back_to(settings: CandidatesSettings, version: str) -> tuple[str, Manifest]:
    """Makes a version current again, the one before when `version` is empty, if a server can open it.

    Returns what was current, and the manifest of what is; raises as `shared.artifacts.rollback.roll_back`.
    """
    from services.candidates.adapters.faiss_flat import FlatIndex
    from services.candidates.versions.files import open_version
    from shared.artifacts.rollback import roll_back

    builder = FaissIndexes(settings.index)

    def check(loaded: Loaded) -> None:
        # What is opened is memory and mapped files: both go with it, at the end of this call.
        open_version(loaded, FlatIndex, builder)

    return roll_back(ArtifactStore(settings.artifacts), KIND, version, check=check)


async def train(
    settings: CandidatesSettings, protocol: Protocol, stages: Sequence[Stage], progress: JobProgress, export: str = ""
) -> list[Manifest]:
    """Reads the log, or an export of it, trains and publishes; returns the manifests.

    Raises:
        NothingToLearn: the log holds nothing to train on.
        NotFound, CorruptData: there is no such export, or it is damaged.
        DependencyUnavailable: ingestion or embedding does not answer.

    """
    read = 0

    def on_batch(records: int) -> None:
        nonlocal read
        read += records
        progress.update("read", read, 0)

    async with open_channel(settings.ingestion_address) as ingestion, open_channel(settings.embedding_address) as other:
        if export:
            snapshot = _parquet(export).snapshot(on_batch)
        else:
            snapshot = await read_snapshot(LogFeed(ingestion, exclude_types=[EventType.IMPRESSION]), on_batch=on_batch)
        return await _job(settings, other, progress).run(protocol, stages, snapshot)


async def train_on_spark(
    settings: CandidatesSettings, protocol: Protocol, stages: Sequence[Stage], progress: JobProgress, export: str
) -> list[Manifest]:
    """As `train`, with Spark for the matrix factorisation; the stage `serving` alone is judged in Spark, too.

    Raises:
        NothingToLearn: the export holds nothing to train on.
        NotFound, CorruptData: there is no such export, or it is damaged.
        DependencyUnavailable: Spark cannot be started or fails, or embedding does not answer.

    """
    from services.candidates.adapters.spark_session import spark_session

    log = _parquet(export)
    with spark_session(settings.spark_master, settings.spark_conf) as session:
        # Both need PySpark, which `spark_session` asks for with words of its own.
        from services.candidates.adapters.spark_als import SparkAls
        from services.candidates.adapters.spark_likes import SparkLog

        async with open_channel(settings.embedding_address) as embedding:
            if list(stages) == [Stage.SERVING]:
                judged = SparkLog(session, log.event_files, settings.rules)
                engine = SparkAls(session, settings.spark_als, judged)
                return await _job(settings, embedding, progress, engine).run_serving(log.catalogue(), judged)
            engine = SparkAls(session, settings.spark_als)
            return await _job(settings, embedding, progress, engine).run(protocol, stages, log.snapshot())


def _parquet(export: str) -> ParquetLog:
    # The server needs no pyarrow.
    try:
        from services.candidates.adapters.parquet_log import ParquetLog
    except ImportError as error:
        missing = "pyarrow is missing: install requirements/candidates-spark.lock"
        raise DependencyUnavailable("the export", missing) from error
    return ParquetLog(export)


def _job(
    settings: CandidatesSettings, embedding: grpc.aio.Channel, progress: JobProgress, engine: AlsEngine | None = None
) -> TrainingJob:
    # The server needs neither this nor SciPy, which it brings along and which takes half a second to import.
    from services.candidates.training.job import TrainingJob

    return TrainingJob(
        embedder=GrpcEmbedder(embedding),
        store=ArtifactStore(settings.artifacts),
        rules=settings.rules,
        parameters=settings.hyperparameters,
        sources=settings.trained_sources,
        keep_versions=settings.keep_versions,
        progress=progress,
        builder=FaissIndexes(settings.index),
        quotas=_quota_learner(settings) if settings.learn_quotas else None,
        als_engine=engine,
        embedding_version=settings.embedding_version,
    )


def _quota_learner(settings: CandidatesSettings) -> QuotaLearner:
    from services.candidates.adapters.faiss_flat import FlatIndex
    from services.candidates.training.quotas import QuotaLearner

    return QuotaLearner(FlatIndex, settings.asked_sources, settings.rules)
