"""The evaluator's RPCs: decode, call, encode."""
# ruff: noqa: N802, ARG002 (the methods have the contract's names and gRPC's signature)

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from fusionrec.evaluator.v1 import evaluator_service_pb2_grpc as pb_grpc

from services.evaluator import convert
from services.evaluator.experiments.experiment import experiment_of
from services.evaluator.metrics import evaluate
from services.evaluator.metrics.words import in_words
from shared.errors import NotServedYet
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc.aio

    from services.evaluator.experiments.experiment import Experiment
    from services.evaluator.ports import Reports
    from shared.watched import Watched

    Context = grpc.aio.ServicerContext[Any, Any]

SERVICE = "evaluator"


class EvaluatorServicer(pb_grpc.EvaluatorServiceServicer):
    """Answers for what callers bring, for the stored reports and for the experiments."""

    def __init__(self, reports: Reports, experiments: Watched[Mapping[str, Experiment]]) -> None:
        self._reports = reports
        self._experiments = experiments

    async def EvaluateRankings(
        self, request: pb.EvaluateRankingsRequest, context: Context
    ) -> pb.EvaluateRankingsResponse:
        """Computes metrics of a run; all of it on a thread, because a request may hold a million items."""
        return await asyncio.to_thread(_evaluate, request)

    async def ListReports(self, request: pb.ListReportsRequest, context: Context) -> pb.ListReportsResponse:
        """Returns a page of the stored reports, newest first."""
        size, after = convert.decode_page(request)
        summaries, next_after = await self._reports.page(after=after, size=size)
        reports = [convert.encode_summary(summary) for summary in summaries]
        return pb.ListReportsResponse(reports=reports, next_page_token=next_after)

    async def GetReport(self, request: pb.GetReportRequest, context: Context) -> pb.GetReportResponse:
        """Returns one stored report."""
        summary, text = await self._reports.get(convert.decode_report_id(request))
        return pb.GetReportResponse(summary=convert.encode_summary(summary), json=text)

    async def EvaluateOnline(self, request: pb.EvaluateOnlineRequest, context: Context) -> pb.EvaluateOnlineResponse:
        """Is not served yet."""
        raise NotServedYet("EvaluateOnline", "logged outcomes joined to impressions")

    async def CompareVariants(self, request: pb.CompareVariantsRequest, context: Context) -> pb.CompareVariantsResponse:
        """Is not served yet."""
        raise NotServedYet("CompareVariants", "outcomes of experiments")

    async def AssignVariant(self, request: pb.AssignVariantRequest, context: Context) -> pb.AssignVariantResponse:
        """Returns the variant that a user is in."""
        name, user_id = convert.decode_assignment(request)
        experiment = experiment_of(self._experiments.current, name)
        return pb.AssignVariantResponse(variant=experiment.variant(user_id))


def _evaluate(request: pb.EvaluateRankingsRequest) -> pb.EvaluateRankingsResponse:
    stages = Stages(SERVICE)
    with stages.stage("decode"):
        given = convert.decode_evaluate(request)
    with stages.stage("evaluate"):
        evaluation = evaluate(given.rankings, given.gains, given.metrics, catalogue_size=given.catalogue_size)
    return convert.encode_evaluation(
        evaluation, per_query=given.per_query, protocol=in_words(evaluation), stages=stages.times
    )
