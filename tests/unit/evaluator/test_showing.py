"""A report as people see it."""

from __future__ import annotations

import io
from datetime import UTC, datetime

from rich.console import Console

from services.evaluator.protocols.measure import Measured
from services.evaluator.reports.report import Report
from services.evaluator.reports.show import show
from shared.data.splits import Protocol


def test_a_report_is_shown_best_model_first_with_its_protocol_and_warnings():
    metrics = {"ndcg@10": 0.1, "precision@10": 0.2, "recall@20": 0.3}
    report = Report(
        protocol=Protocol.NEW_USERS,
        k=10,
        users=134,
        versions={"ranker": "r1"},
        models={
            "popular": Measured(metrics, {1: {"ndcg@10": 0.11}}),
            "fusion": Measured(metrics | {"ndcg@10": 0.4}, {1: {"ndcg@10": 0.42}}, {"embedding": 3}),
        },
        protocol_text="How [it] was measured.",
        created_at=datetime(2026, 1, 1, tzinfo=UTC),
        data={"queries": 536},
        variants={"fusion": "gbdt"},
    )
    stream = io.StringIO()
    show(report, Console(file=stream, width=80))
    text = stream.getvalue()
    assert text.index("fusion") < text.index("popular")
    for expected in (
        "new-users: 134 users",
        "0.4000",
        "ndcg@10 by events of history",
        "after 1",
        "0.4200",
        "How [it] was measured.",
        "ranker r1",
    ):
        assert expected in text
    assert "fusion: 3 of 536 answers were given without embedding" in text
