"""Protobuf ↔ domain of the evaluator's own messages. Decoding checks every limit that the contract states."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusionrec.common.v1 import serving_pb2
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb

from services.evaluator.metrics import parse_metric
from services.evaluator.metrics.registry import DEFAULT_METRICS
from shared.data import limits
from shared.data.validation import check_count, check_id, check_int, check_number
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.convert import encode_served_by, encode_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from services.evaluator.metrics import Evaluation, MetricAt
    from services.evaluator.reports.report import ReportSummary
    from shared.telemetry.stages import StageTime

_REPORT_ID = re.compile(r"[0-9]{8}T[0-9]{6,12}-[0-9a-f]{8}")
_MAX_INT64 = 2**63 - 1


@dataclass(frozen=True, slots=True)
class EvaluationRequest:
    """A run and its judgements: query → items, best first; query → item → gain."""

    rankings: Mapping[str, Sequence[str]]
    gains: Mapping[str, Mapping[str, float]]
    metrics: tuple[MetricAt, ...]
    catalogue_size: int
    per_query: bool


def decode_evaluate(request: pb.EvaluateRankingsRequest) -> EvaluationRequest:
    """Returns the run and its judgements. Takes about a second for a million items: not for the event loop.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract; the error names its path.

    """
    metrics = _decode_metrics(request.metrics)
    rankings = _decode_rankings(request.rankings)
    if request.per_query:
        _check_answer_size(len(rankings), len(metrics))
    return EvaluationRequest(
        rankings=rankings,
        gains=_decode_judgements(request.judgements),
        metrics=metrics,
        catalogue_size=check_int(request.catalogue_size, "catalogue_size", 0, _MAX_INT64),
        per_query=request.per_query,
    )


def _decode_metrics(names: Sequence[str]) -> tuple[MetricAt, ...]:
    check_count(names, "metrics", limits.MAX_METRICS)
    parsed = [parse_metric(name, f"metrics[{index}]") for index, name in enumerate(names or DEFAULT_METRICS)]
    return tuple(dict.fromkeys(parsed))


def _decode_rankings(messages: Sequence[pb.Ranking]) -> dict[str, list[str]]:
    check_count(messages, "rankings", limits.MAX_RANKINGS, minimum=1)
    rankings: dict[str, list[str]] = {}
    items = 0
    for index, message in enumerate(messages):
        path = f"rankings[{index}]"
        query = check_id(message.query_id, f"{path}.query_id")
        if query in rankings:
            raise InvalidField(f"{path}.query_id", query, "each query id once", "send one ranking per query")
        items += len(message.item_ids)
        if items > limits.MAX_RANKED_ITEMS:
            limit = f"{limits.MAX_RANKED_ITEMS} items in all rankings"
            raise LimitExceeded("rankings", f"{items} items up to {path}", limit, "send fewer, in several calls")
        rankings[query] = _decode_ranking(message.item_ids, f"{path}.item_ids")
    return rankings


def _decode_ranking(ids: Sequence[str], path: str) -> list[str]:
    check_count(ids, path, limits.MAX_RANKING_LENGTH)
    items = list(ids)
    for index, item in enumerate(items):
        if not _is_plain(item):
            check_id(item, f"{path}[{index}]")
    if len(set(items)) < len(items):
        seen: set[str] = set()
        for index, item in enumerate(items):
            if item in seen:
                raise InvalidField(f"{path}[{index}]", item, "each item once", "leave out its later places")
            seen.add(item)
    return items


def _decode_judgements(messages: Sequence[pb.Judgement]) -> dict[str, dict[str, float]]:
    check_count(messages, "judgements", limits.MAX_JUDGEMENTS, minimum=1)
    gains: dict[str, dict[str, float]] = defaultdict(dict)
    for index, message in enumerate(messages):
        query, item, gain = message.query_id, message.item_id, message.gain
        if not (_is_plain(query) and _is_plain(item) and 0.0 <= gain <= limits.MAX_GAIN):
            _check_judgement(message, f"judgements[{index}]")
        own = gains[query]
        if item in own:
            path = f"judgements[{index}].item_id"
            raise InvalidField(path, item, "each item once per query", "send one judgement per item")
        own[item] = gain
    return dict(gains)


def _check_judgement(message: pb.Judgement, path: str) -> None:
    check_id(message.query_id, f"{path}.query_id")
    check_id(message.item_id, f"{path}.item_id")
    check_number(message.gain, f"{path}.gain", 0.0, limits.MAX_GAIN)


def _is_plain(value: str) -> bool:
    """Returns whether an id is valid at first sight; where not, it is checked properly.

    Of a million ids, spelling the path of each for an error that does not come takes longer than the checks.
    """
    return 0 < len(value) <= limits.MAX_ID_BYTES and value.isascii() and value.isprintable()


def _check_answer_size(rankings: int, metrics: int) -> None:
    values = rankings * metrics
    if values > limits.MAX_PER_QUERY_VALUES:
        limit = f"rankings times metrics at most {limits.MAX_PER_QUERY_VALUES}"
        hint = "ask for fewer metrics, or send the rankings in several calls"
        raise LimitExceeded("per_query", f"{rankings} rankings times {metrics} metrics = {values}", limit, hint)


def encode_evaluation(
    evaluation: Evaluation, *, per_query: bool, protocol: str, stages: Iterable[StageTime]
) -> pb.EvaluateRankingsResponse:
    """Returns the message of an evaluation."""
    return pb.EvaluateRankingsResponse(
        metrics=evaluation.means,
        queries=evaluation.queries,
        queries_without_relevant=evaluation.without_relevant,
        queries_without_ranking=evaluation.without_ranking,
        per_query=[pb.QueryMetrics(query_id=query, metrics=metrics) for query, metrics in evaluation.per_query.items()]
        if per_query
        else (),
        protocol=protocol,
        served_by=encode_served_by({}, stages),
    )


def decode_page(request: pb.ListReportsRequest) -> tuple[int, str]:
    """Returns the page's size and the report id to begin after.

    Raises:
        InvalidField, LimitExceeded: size out of range, or a token that this service did not give.

    """
    size = check_int(request.page_size, "page_size", 1, limits.MAX_REPORTS, zero_means=limits.DEFAULT_REPORTS)
    token = request.page_token
    if token and not _REPORT_ID.fullmatch(token):
        hint = "leave it empty for the first page"
        raise InvalidField("page_token", token, "next_page_token of an earlier answer", hint)
    return size, token


def decode_report_id(request: pb.GetReportRequest) -> str:
    """Returns the report's id.

    Raises:
        InvalidField, LimitExceeded: empty, unprintable or too long.

    """
    return check_id(request.report_id, "report_id")


def decode_assignment(request: pb.AssignVariantRequest) -> tuple[str, str]:
    """Returns the experiment's name and the user.

    Raises:
        InvalidField, LimitExceeded: empty, unprintable or too long.

    """
    return check_id(request.experiment, "experiment"), check_id(request.user_id, "user_id")


def encode_summary(summary: ReportSummary) -> pb.ReportSummary:
    """Returns the message of a report in short."""
    return pb.ReportSummary(
        report_id=summary.report_id,
        protocol=summary.protocol,
        created_at=encode_time(summary.created_at),
        models=[serving_pb2.ModelVersion(kind=kind, version=one) for kind, one in summary.versions.items()],
        ndcg_at_10=summary.ndcg_at_10,
    )
