"""Decoding and encoding of the evaluator's messages."""

from __future__ import annotations

from datetime import UTC, datetime

from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator import convert
from services.evaluator.metrics import MetricAt
from services.evaluator.reports.report import ReportSummary

ids = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1, max_size=20)
gains = st.floats(0, 1000, allow_nan=False)


@given(
    st.dictionaries(ids, st.lists(ids, unique=True, max_size=5), min_size=1, max_size=5),
    st.dictionaries(ids, st.dictionaries(ids, gains, min_size=1, max_size=5), min_size=1, max_size=5),
)
def test_every_valid_run_decodes_to_itself(rankings, judgements):
    request = pb.EvaluateRankingsRequest(
        rankings=[pb.Ranking(query_id=query, item_ids=items) for query, items in rankings.items()],
        judgements=[
            pb.Judgement(query_id=query, item_id=item, gain=gain)
            for query, own in judgements.items()
            for item, gain in own.items()
        ],
        metrics=["map@3", "ndcg@5", "map@3"],
        catalogue_size=7,
        per_query=True,
    )
    decoded = convert.decode_evaluate(pb.EvaluateRankingsRequest.FromString(request.SerializeToString()))
    assert decoded.rankings == rankings
    assert list(decoded.rankings) == list(rankings)
    assert decoded.gains == judgements
    assert decoded.metrics == (MetricAt("map", 3), MetricAt("ndcg", 5))
    assert (decoded.catalogue_size, decoded.per_query) == (7, True)


def test_a_page_without_a_size_has_50_reports():
    assert convert.decode_page(pb.ListReportsRequest()) == (50, "")


def test_a_summary_keeps_all_it_has():
    made = datetime(2026, 5, 4, 3, 2, 1, 123456, tzinfo=UTC)
    message = convert.encode_summary(ReportSummary("id", "warm", made, {"ranker": "r1"}, {"fusion": 0.14}))
    assert (message.report_id, message.protocol, message.created_at.ToDatetime(UTC)) == ("id", "warm", made)
    assert [(one.kind, one.version) for one in message.models] == [("ranker", "r1")]
    assert message.ndcg_at_10 == {"fusion": 0.14}
