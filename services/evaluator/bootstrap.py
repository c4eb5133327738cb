"""The composition root: the only file that names concrete adapters."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.evaluator.adapters.artifact_reports import ArtifactReports
from services.evaluator.adapters.experiment_file import ExperimentFile
from services.evaluator.adapters.grpc_candidates import GrpcCandidates
from services.evaluator.adapters.grpc_log import GrpcLog
from services.evaluator.adapters.grpc_ranker import GrpcRanker
from services.evaluator.experiments.experiment import Experiment
from services.evaluator.protocols.job import EvaluationJob
from services.evaluator.servicer import EvaluatorServicer
from services.evaluator.settings import EvaluatorSettings
from shared.artifacts import ArtifactStore
from shared.background import supervised
from shared.errors import CorruptData, FusionrecError
from shared.rpc.client import open_channel
from shared.watched import Watched

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    import grpc.aio

    from services.evaluator.ports import Reports
    from shared.rpc.lifecycle import Lifecycle
    from shared.telemetry.progress import JobProgress


class EvaluatorApp:
    """The evaluator as the server runner sees it."""

    service_names: tuple[str, ...] = (pb.DESCRIPTOR.services_by_name["EvaluatorService"].full_name,)

    def __init__(self, settings: EvaluatorSettings) -> None:
        self._settings = settings
        self._reports = build_reports(settings)
        self._experiments = experiments_of(settings)
        self._watching: asyncio.Task[None] | None = None

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        pb_grpc.add_EvaluatorServiceServicer_to_server(EvaluatorServicer(self._reports, self._experiments), server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Is ready once the store of reports answers; having no report yet is no fault."""
        await self._reports.page(after="", size=1)
        if self._settings.experiments:
            poll_s = self._settings.experiments_poll_s
            watch = supervised(lambda: self._experiments.watch(poll_s), "experiments file")
            self._watching = asyncio.create_task(watch)
        await lifecycle.ready()

    async def stop(self) -> None:
        """Ends the look at the file of experiments."""
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)


def build(settings: EvaluatorSettings | None = None) -> EvaluatorApp:
    """Returns the service."""
    return EvaluatorApp(settings or EvaluatorSettings())


def experiments_of(settings: EvaluatorSettings) -> Watched[Mapping[str, Experiment]]:
    """Returns the experiments by name.

    Raises:
        CorruptData: the file of experiments cannot be used; the message names the line.

    """
    source = ExperimentFile(settings.experiments) if settings.experiments else None
    try:
        return Watched(source, dict[str, Experiment](), "experiments")
    except FusionrecError as error:
        raise CorruptData(f"EVALUATOR_EXPERIMENTS = '{settings.experiments}': {error.message}") from error


def build_reports(settings: EvaluatorSettings) -> Reports:
    """Returns the store of reports."""
    return ArtifactReports(ArtifactStore(settings.artifacts))


@contextlib.asynccontextmanager
async def open_job(settings: EvaluatorSettings, progress: JobProgress) -> AsyncIterator[EvaluationJob]:
    """Yields the job, connected to ingestion, candidates and ranker."""
    async with (
        open_channel(settings.ingestion_address) as ingestion,
        open_channel(settings.candidates_address) as candidates,
        open_channel(settings.ranker_address) as ranker,
    ):
        yield EvaluationJob(
            ranker=GrpcRanker(ranker, settings.call_timeout_s),
            candidates=GrpcCandidates(candidates, settings.call_timeout_s),
            log=GrpcLog(ingestion),
            progress=progress,
            rules=settings.rules,
            ks=settings.ks,
            concurrency=settings.concurrency,
            seed=settings.seed,
        )
