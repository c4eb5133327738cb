"""The composition root: the only file that names concrete adapters."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.evaluator.adapters.artifact_reports import ArtifactReports
from services.evaluator.adapters.grpc_candidates import GrpcCandidates
from services.evaluator.adapters.grpc_log import GrpcLog
from services.evaluator.adapters.grpc_ranker import GrpcRanker
from services.evaluator.protocols.job import EvaluationJob
from services.evaluator.servicer import EvaluatorServicer
from services.evaluator.settings import EvaluatorSettings
from shared.artifacts import ArtifactStore
from shared.rpc.client import open_channel

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from services.evaluator.ports import Reports
    from shared.rpc.lifecycle import Lifecycle
    from shared.telemetry.progress import JobProgress


class EvaluatorApp:
    """The evaluator as the server runner sees it."""

    service_names: tuple[str, ...] = (pb.DESCRIPTOR.services_by_name["EvaluatorService"].full_name,)

    def __init__(self, settings: EvaluatorSettings) -> None:
        self._reports = build_reports(settings)

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        pb_grpc.add_EvaluatorServiceServicer_to_server(EvaluatorServicer(self._reports), server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Is ready once the store of reports answers; having no report yet is no fault."""
        await self._reports.page(after="", size=1)
        await lifecycle.ready()

    async def stop(self) -> None:
        """Holds nothing open."""


def build(settings: EvaluatorSettings | None = None) -> EvaluatorApp:
    """Returns the service."""
    return EvaluatorApp(settings or EvaluatorSettings())


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
