"""Every metric against numbers computed by hand and against a slow, obvious second implementation."""

from __future__ import annotations

import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from services.evaluator.metrics import METRICS, MetricAt
from services.evaluator.metrics.coverage import coverage
from services.evaluator.metrics.judged import judge

ITEMS = [f"i{n}" for n in range(12)]

rankings = st.lists(st.sampled_from(ITEMS), unique=True, max_size=12)
binary_gains = st.dictionaries(st.sampled_from(ITEMS), st.just(1.0), min_size=1)
graded_gains = st.dictionaries(st.sampled_from(ITEMS), st.sampled_from([0.0, 0.5, 1.0, 2.0, 7.0]), min_size=1)
cutoffs = st.integers(1, 15)
names = st.sampled_from(sorted(METRICS))


def value(name, ranking, gains, k):
    return MetricAt(name, k).of(judge(ranking, gains, k))


# Hand computed: relevant a (gain 3), b (gain 2), c (gain 1); ranking x a y b: hits at places 2 and 4.
RANKING = ["x", "a", "y", "b"]
GAINS = {"a": 3.0, "b": 2.0, "c": 1.0, "x": 0.0}
BY_HAND = [
    ("precision", 1, 0.0),
    ("precision", 2, 1 / 2),
    ("precision", 4, 2 / 4),
    ("precision", 10, 2 / 10),
    ("recall", 2, 1 / 3),
    ("recall", 4, 2 / 3),
    ("recall", 10, 2 / 3),
    ("f1", 2, 2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)),
    ("f1", 4, 2 * (1 / 2) * (2 / 3) / (1 / 2 + 2 / 3)),
    ("f1", 1, 0.0),
    ("mrr", 1, 0.0),
    ("mrr", 2, 1 / 2),
    ("mrr", 10, 1 / 2),
    ("hit_rate", 1, 0.0),
    ("hit_rate", 2, 1.0),
    ("map", 1, 0.0),
    ("map", 2, (1 / 2) / 2),
    ("map", 4, (1 / 2 + 2 / 4) / 3),
    ("ndcg", 1, 0.0),
    ("ndcg", 2, (3 / math.log2(3)) / (3 + 2 / math.log2(3))),
    ("ndcg", 4, (3 / math.log2(3) + 2 / math.log2(5)) / (3 + 2 / math.log2(3) + 1 / 2)),
    ("ndcg", 100, (3 / math.log2(3) + 2 / math.log2(5)) / (3 + 2 / math.log2(3) + 1 / 2)),
]


@pytest.mark.parametrize(("name", "k", "expected"), BY_HAND)
def test_by_hand(name, k, expected):
    assert value(name, RANKING, GAINS, k) == pytest.approx(expected, abs=1e-12)


def test_binary_ndcg_by_hand_uses_an_ideal_of_min_k_and_relevant():
    gains = dict.fromkeys(["a", "b", "c"], 1.0)
    assert value("ndcg", ["a", "x", "b"], gains, 2) == pytest.approx(1 / (1 + 1 / math.log2(3)))
    assert value("ndcg", ["a", "x", "b"], gains, 3) == pytest.approx((1 + 1 / 2) / (1 + 1 / math.log2(3) + 1 / 2))


def brute_force(name, ranking, gains, k):  # noqa: PLR0911 (one definition a line)
    """The definitions, written as loops."""
    relevant = [item for item, gain in gains.items() if gain > 0]
    top = ranking[:k]
    hits = len([item for item in top if item in relevant])
    precision, recall = hits / k, hits / len(relevant)
    if name == "precision":
        return precision
    if name == "recall":
        return recall
    if name == "f1":
        return 0.0 if hits == 0 else 2 * precision * recall / (precision + recall)
    if name == "hit_rate":
        return float(hits > 0)
    if name == "mrr":
        return max([1 / place for place, item in enumerate(top, 1) if item in relevant], default=0.0)
    if name == "map":
        total = 0.0
        for place, item in enumerate(top, 1):
            if item in relevant:
                total += len([one for one in ranking[:place] if one in relevant]) / place
        return total / min(k, len(relevant))
    dcg = sum(gains.get(item, 0.0) / math.log2(place + 1) for place, item in enumerate(top, 1))
    best = sorted(gains.values(), reverse=True)[:k]
    return dcg / sum(gain / math.log2(place + 1) for place, gain in enumerate(best, 1))


@given(names, rankings, graded_gains, cutoffs)
def test_equals_the_slow_implementation(name, ranking, gains, k):
    assume(any(gain > 0 for gain in gains.values()))
    assert value(name, ranking, gains, k) == pytest.approx(brute_force(name, ranking, gains, k), abs=1e-12)


@given(names, rankings, graded_gains, cutoffs)
def test_lies_between_0_and_1(name, ranking, gains, k):
    assume(any(gain > 0 for gain in gains.values()))
    assert 0.0 <= value(name, ranking, gains, k) <= 1.0 + 1e-12


@given(graded_gains, cutoffs)
def test_a_perfect_ranking_has_1(gains, k):
    assume(any(gain > 0 for gain in gains.values()))
    perfect = sorted(gains, key=lambda item: -gains[item])
    for name in ("ndcg", "map", "mrr", "hit_rate"):
        assert value(name, perfect, gains, k) == pytest.approx(1.0)


@given(names, rankings, binary_gains, cutoffs)
def test_a_ranking_without_a_relevant_item_has_0(name, ranking, gains, k):
    assert value(name, [item for item in ranking if item not in gains], gains, k) == 0.0


@given(names, rankings, binary_gains, cutoffs, st.randoms(use_true_random=False))
def test_what_stands_behind_k_does_not_matter(name, ranking, gains, k, chance):
    tail = ranking[k:]
    chance.shuffle(tail)
    assert value(name, ranking, gains, k) == value(name, ranking[:k] + tail, gains, k)


@given(
    st.sampled_from(["precision", "recall", "f1", "hit_rate"]),
    rankings,
    binary_gains,
    cutoffs,
    st.randoms(use_true_random=False),
)
def test_set_metrics_ignore_the_order_within_k(name, ranking, gains, k, chance):
    shuffled = ranking[:k]
    chance.shuffle(shuffled)
    assert value(name, ranking, gains, k) == value(name, shuffled, gains, k)


@given(st.sampled_from(["ndcg", "mrr", "map"]), rankings, binary_gains, cutoffs, st.data())
def test_moving_a_relevant_item_up_never_hurts(name, ranking, gains, k, data):
    places = [place for place, item in enumerate(ranking) if item in gains and place > 0]
    assume(places)
    place = data.draw(st.sampled_from(places))
    better = list(ranking)
    better[place - 1], better[place] = better[place], better[place - 1]
    assert value(name, better, gains, k) >= value(name, ranking, gains, k) - 1e-12


@given(rankings, binary_gains, cutoffs)
def test_recall_and_hit_rate_grow_with_k(ranking, gains, k):
    for name in ("recall", "hit_rate", "mrr"):
        assert value(name, ranking, gains, k) <= value(name, ranking, gains, k + 1)


@given(names, rankings, graded_gains, cutoffs, st.sampled_from([0.25, 2.0, 64.0]))
def test_the_unit_of_the_gains_does_not_matter(name, ranking, gains, k, factor):
    assume(any(gain > 0 for gain in gains.values()))
    scaled = {item: gain * factor for item, gain in gains.items()}
    assert value(name, ranking, scaled, k) == pytest.approx(value(name, ranking, gains, k))


@given(st.lists(rankings, max_size=5), cutoffs)
def test_coverage_is_the_share_of_the_catalogue_in_the_first_k_places(runs, k):
    shown = [item for item in ITEMS if any(item in run[:k] for run in runs)]
    assert coverage(runs, k, len(ITEMS)) == pytest.approx(len(shown) / len(ITEMS))
