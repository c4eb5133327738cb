"""Reading of metric names, and the means over a run."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.evaluator.metrics import METRICS, MetricAt, evaluate, parse_metric
from services.evaluator.metrics.registry import DEFAULT_METRICS
from services.evaluator.metrics.words import in_words
from shared.errors import InvalidField, LimitExceeded

NDCG1, RECALL2 = MetricAt("ndcg", 1), MetricAt("recall", 2)


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_is_read_and_written_the_same(name):
    assert str(parse_metric(f"{name}@7", "metrics[0]")) == f"{name}@7"


def test_the_defaults_are_valid_names():
    assert [str(parse_metric(name, "metrics[0]")) for name in DEFAULT_METRICS] == list(DEFAULT_METRICS)


@pytest.mark.parametrize(
    "text", ["", "ndcg", "@10", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "NDCG@10", "auc@10", "ndcg@1 "]
)
def test_what_is_no_metric_is_refused_with_the_valid_names(text):
    with pytest.raises(InvalidField) as refused:
        parse_metric(text, "metrics[3]")
    assert refused.value.violation.field == "metrics[3]"
    assert all(name in refused.value.violation.limit for name in METRICS)


def test_k_has_a_limit():
    assert parse_metric("ndcg@10000", "metrics[0]").k == 10_000
    with pytest.raises(LimitExceeded):
        parse_metric("ndcg@10001", "metrics[0]")


def test_means_count_judged_queries_without_a_ranking_as_0_and_leave_out_those_without_relevant_items():
    found = evaluate(
        {"good": ["a"], "bad": ["x"], "unjudged": ["a"], "all zero": ["a"]},
        {
            "good": {"a": 1.0},
            "bad": {"a": 1.0},
            "absent": {"a": 1.0},
            "all zero": {"a": 0.0},
            "absent zero": {"a": 0.0},
        },
        [NDCG1],
    )
    assert found.means == {"ndcg@1": pytest.approx(1 / 3)}
    assert (found.queries, found.without_relevant, found.without_ranking) == (3, 2, 1)
    assert found.per_query == {"good": {"ndcg@1": 1.0}, "bad": {"ndcg@1": 0.0}, "unjudged": {}, "all zero": {}}
    assert "3 queries" in in_words(found)


def test_a_run_without_any_relevant_item_has_no_queries_and_zeros():
    found = evaluate({"q": ["a"]}, {"other": {"a": 0.0}}, [NDCG1])
    assert (found.means, found.queries) == ({"ndcg@1": 0.0}, 0)


def test_coverage_is_added_at_every_k_asked_for():
    found = evaluate({"q": ["a", "b"], "r": ["a", "c"]}, {"q": {"a": 1.0}}, [NDCG1, RECALL2], catalogue_size=4)
    assert (found.means["coverage@1"], found.means["coverage@2"]) == (0.25, 0.75)


def test_a_catalogue_smaller_than_what_was_ranked_is_refused():
    with pytest.raises(InvalidField, match="catalogue_size"):
        evaluate({"q": ["a", "b"]}, {"q": {"a": 1.0}}, [RECALL2], catalogue_size=1)


@given(st.permutations([("q", ["a", "b", "c"]), ("r", ["b"]), ("s", ["c", "a"]), ("t", ["d", "e", "a"])]), st.randoms())
def test_the_order_of_queries_and_judgements_does_not_change_a_bit(run, chance):
    gains = [("q", {"b": 1.0, "c": 0.3}), ("r", {"a": 1.0}), ("s", {"a": 0.1}), ("t", {"a": 7.0, "e": 0.7})]
    metrics = [MetricAt(name, k) for name in METRICS for k in (1, 3)]
    expected = evaluate(dict(sorted(run)), dict(gains), metrics)
    chance.shuffle(gains)
    found = evaluate(dict(run), dict(gains), metrics)
    assert found.means == expected.means
    assert found.per_query == expected.per_query
