"""The gate that is shown, the negatives that are drawn, and what an incremental update learns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import FitContext, RankingLists
from services.ranker.fusion.linear import LinearFusion
from services.ranker.training.fitting import update
from services.ranker.training.gate import gate_points
from services.ranker.training.learned import LearnedList, stacked
from services.ranker.training.metrics import mean_ndcg
from services.ranker.training.negatives import Negatives, drawn_rows
from shared.data.folds import ListKind
from shared.data.splits import Protocol
from shared.errors import ModelNotReady


def lists_by(column: str, count: int, seed: int, events: int = 20) -> list[LearnedList]:
    """Lists whose order one feature tells."""
    random = np.random.default_rng(seed)
    out = []
    for turn in range(count):
        features = random.normal(size=(40, len(NAMES))).astype(np.float32)
        features[:, INDEX["has_cf"]] = 1
        features[:, INDEX["history_events"]] = np.log1p(events)
        features[:, INDEX["popularity"]] = np.log1p(random.integers(0, 300, 40))
        told = features[:, INDEX[column]]
        labels = (told >= np.sort(told)[-4]).astype(np.float32)
        out.append(LearnedList(ListKind.WARM, f"{column}-{turn}", features, labels, held=turn % 5 == 0))
    return out


def fitted(lists: list[LearnedList]) -> LinearFusion:
    fusion = LinearFusion()
    fusion.fit(stacked(lists), stacked(lists), NAMES)
    return fusion


def test_the_gate_shows_popularity_for_the_new_and_cf_for_the_known():
    new, known = lists_by("popularity_year", 60, 0, events=1), lists_by("als_score", 60, 1, events=200)
    points = gate_points(fitted(new + known), new + known, None)
    by_history = {point.at: point.shares for point in points if point.axis == "history_events"}
    assert set(by_history) == {1, 200}
    assert by_history[1]["popularity"] > 0.5 > by_history[1]["cf"]
    assert by_history[200]["cf"] > 0.5 > by_history[200]["popularity"]
    assert {point.axis for point in points} == {"history_events", "item_positives"}
    for point in points:
        assert sum(point.shares.values()) == pytest.approx(1)


def test_an_update_learns_the_new_and_keeps_the_old():
    old, new = lists_by("als_score", 80, 2), lists_by("lm_best", 40, 3)
    before, updated, anew = fitted(old), fitted(old), fitted(old + new)
    updated.update(stacked(new), NAMES)
    later, earlier = lists_by("lm_best", 30, 4), lists_by("als_score", 30, 5)
    assert mean_ndcg(updated, later) > mean_ndcg(before, later) + 0.1
    assert mean_ndcg(updated, later) > 0.7 * mean_ndcg(anew, later)
    assert mean_ndcg(updated, earlier) > 0.7 * mean_ndcg(anew, earlier)


def test_an_update_is_measured_on_held_lists_and_published_with_all():
    old, new = lists_by("als_score", 60, 6), lists_by("als_score", 30, 7)
    loads = []

    def load():
        loads.append(1)
        return {"linear": fitted(old)}

    trained = update(Protocol.WARM, load, new, "", FitContext())
    assert len(loads) == 2
    assert trained.default == "linear"
    assert trained.validation["linear"]["ndcg@10 warm"] > 0.8
    assert trained.gates["linear"]
    with pytest.raises(ModelNotReady, match="without a warm start"):
        update(Protocol.WARM, load, [one for one in new if not one.held], "", FitContext())
    # Held lists that were shown have a figure of their own: there would be none to publish.
    only_shown = [replace(one, kind=ListKind.SHOWN) if one.held else one for one in new]
    with pytest.raises(ModelNotReady, match="without a warm start"):
        update(Protocol.WARM, load, only_shown, "", FitContext())


class TestNegatives:
    labels = np.array([1] * 3 + [0] * 97, dtype=np.float32)
    merged = np.linspace(1, 0, 100, dtype=np.float32)
    popularity = np.log1p(np.arange(100, dtype=np.float32))

    def drawn(self, seed=0, **wanted):
        random = np.random.default_rng(seed)
        return drawn_rows(self.labels, self.merged, self.popularity, Negatives(20, **wanted), random)

    def test_all_that_was_liked_and_so_many_others(self):
        rows = self.drawn()
        assert len(set(rows.tolist())) == len(rows) == 23
        assert rows[:3].tolist() == [0, 1, 2]

    def test_some_are_the_hardest(self):
        rows = set(self.drawn(hard=0.5).tolist())
        assert set(range(3, 13)) <= rows
        assert len(rows) == 23
        assert set(self.drawn(hard=1.0).tolist()) == set(range(23))

    def test_the_popular_are_drawn_less(self):
        plain = np.mean([self.popularity[self.drawn(seed)[3:]].mean() for seed in range(50)])
        corrected = np.mean([self.popularity[self.drawn(seed, popularity=1.0)[3:]].mean() for seed in range(50)])
        assert corrected < plain - 0.1


def test_lists_without_vectors_are_plain_inputs():
    lists = RankingLists(
        np.zeros((4, 3), np.float32), np.zeros(4, np.float32), np.array([1, 3]), np.ones(2, np.float32)
    )
    assert [len(one) for one in lists.inputs()] == [1, 3]
    assert all(one.items.shape == (len(one), 0) for one in lists.inputs())
