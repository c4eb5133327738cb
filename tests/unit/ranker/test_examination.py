"""Position bias: the curve that is estimated, and what a ranker learns with and without it.

A simulated screen: relevance is known, the logging policy believes mostly in another feature, and users look at
position p with probability p^-eta. Everything after the clicks is the code that trains.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import FitContext, RankingInput
from services.ranker.fusion.registry import new_fusions
from services.ranker.training.examination import (
    LAST_POSITIONS,
    MAX_WEIGHT,
    MIN_EXPLORED,
    Examination,
    by_taken,
    examination_of,
)
from services.ranker.training.fitting import measure, train
from services.ranker.training.learned import LearnedList, stacked
from shared.data.folds import ListKind
from shared.data.splits import Protocol

TRUSTED, TRUE, OTHER = (INDEX[name] for name in ("als_relative", "lm_affinity", "category_taste"))
ROWS, CANDIDATES = 15, 60
TOP = 1 / np.log2(np.arange(2, 12))


@cache
def worlds(users, seed):
    """Candidates of users, features float32 (60, features), and how relevant each is, a probability."""
    random = np.random.default_rng(seed)
    out = []
    for _ in range(users):
        features = np.zeros((CANDIDATES, len(NAMES)), dtype=np.float32)
        features[:, INDEX["has_cf"]] = 1
        features[:, INDEX["history_events"]] = np.log1p(random.integers(1, 100))
        for column in (TRUSTED, TRUE, OTHER):
            features[:, column] = random.normal(size=CANDIDATES)
        logits = -2 + 0.4 * features[:, TRUSTED] + 1.2 * features[:, TRUE] + 0.5 * features[:, OTHER]
        out.append((features, 1 / (1 + np.exp(-logits))))
    return out


@cache
def logged(users, seed=1, eta=1.0, explored=False):  # noqa: FBT002 (a simulation's parameter)
    """The lists that were shown and clicked on."""
    random = np.random.default_rng(seed)
    positions = np.arange(1, ROWS + 1)
    out = []
    for user, (features, relevant) in enumerate(worlds(users, seed)):
        noise = random.gumbel(size=CANDIDATES) if explored else 0.5 * random.normal(size=CANDIDATES)
        order = np.argsort(-(2 * features[:, TRUSTED] + 0.5 * features[:, TRUE] + noise))[:ROWS]
        clicks = random.random(ROWS) < relevant[order] * positions**-eta
        if clicks.any() and not clicks.all():
            labels = clicks.astype(np.float32)
            one = LearnedList(ListKind.SHOWN, f"user-{user}", features[order], labels, held=user % 5 == 1)
            out.append(replace(one, positions=positions, explored=explored))
    return out


def of_truth(eta):
    return np.arange(1, 11.0) ** -eta


def curve(examination):
    return examination.examined[:10] / examination.examined[0]


def quality(fusion):
    """How much of the relevance that ten places can hold is in the first ten: NDCG@10 by true relevance, new users."""
    found = []
    for features, relevant in worlds(100, 99):
        order = np.argsort(-fusion.predict(RankingInput.plain(features)), kind="stable")[:10]
        found.append((relevant[order] * TOP).sum() / (np.sort(relevant)[::-1][:10] * TOP).sum())
    return float(np.mean(found))


class TestCurve:
    @pytest.mark.parametrize("eta", [0.5, 1.0])
    def test_the_true_curve_is_found_behind_a_biased_policy(self, eta):
        found = examination_of(logged(1200, eta=eta))
        assert not found.explored
        assert np.abs(np.log(curve(found) / of_truth(eta))).mean() < 0.15

    def test_where_all_positions_are_looked_at_the_curve_is_about_flat(self):
        np.testing.assert_allclose(curve(examination_of(logged(1200, eta=0.0))), 1, atol=0.3)

    def test_explored_lists_are_believed_alone_where_they_are_enough(self):
        explored = logged(400, seed=3, explored=True)
        # What is not explored claims the opposite: the last positions are clicked most.
        lying = [replace(one, positions=one.positions[::-1].copy()) for one in logged(700)]
        found = examination_of([*lying, *explored])
        taken = sum(one.labels.sum() for one in explored)
        assert (found.explored, found.lists, found.taken) == (True, len(explored), taken)
        assert taken >= MIN_EXPLORED
        np.testing.assert_allclose(curve(found), of_truth(1.0), rtol=0.6)
        assert not examination_of([*logged(700), *explored[:20]]).explored

    def test_without_evidence_nothing_is_corrected(self):
        assert examination_of([]).examined.tolist() == [1.0] * (len(LAST_POSITIONS) + 1)
        few = examination_of(logged(700)[:3])
        assert few.examined[:10].min() > 0.5
        # Positions that nobody saw are believed to be like the last one that somebody did.
        seen = dict(examination_of(logged(700)).by_position())
        assert seen[20] == seen[30] == seen[50] == seen[0]

    def test_positions_have_their_step_of_the_curve(self):
        steps = Examination(np.arange(1, len(LAST_POSITIONS) + 2) / (len(LAST_POSITIONS) + 1))
        assert steps.at(np.array([1, 10, 11, 15, 16, 50, 51, 100])).tolist() == [
            steps.examined[place] for place in (0, 9, 10, 10, 11, 13, 14, 14)
        ]


class TestWeights:
    def test_a_list_for_each_row_that_was_taken_weighing_what_its_position_says(self):
        shown = logged(300)
        found = by_taken(shown, examination_of(shown), 10_000)
        assert len(found) == sum(one.labels.sum() for one in shown)
        assert all(one.labels.sum() == 1 for one in found)
        assert np.mean([one.weight for one in found]) == pytest.approx(1)
        places = [int(one.positions[np.argmax(one.labels)]) for one in found]
        of_place = dict(zip(places, (one.weight for one in found), strict=True))
        by_hand = 1 / examination_of(shown).at(np.array([1, 4]))
        assert of_place[4] / of_place[1] == pytest.approx(by_hand[1] / by_hand[0])
        assert max(of_place.values()) / min(of_place.values()) <= MAX_WEIGHT * (1 + 1e-9)

    def test_they_are_bounded_in_number_and_spread_evenly(self):
        shown = logged(300)
        few = by_taken(shown, Examination.flat(), 50)
        assert len(few) == 50
        assert (few[0].user_id, few[-1].user_id) == (shown[0].user_id, shown[-1].user_id)
        assert by_taken([], Examination.flat(), 50) == []


@pytest.mark.parametrize(("name", "gain"), [("linear", 0.12), ("svm", 0.12), ("svm_rbf", 0.06), ("gbdt", 0.06)])
def test_a_corrected_fit_ranks_better_than_one_that_believes_the_clicks(name, gain):
    shown = logged(700)

    def fitted(examination):
        fusion = new_fusions([name])[name]
        lists = stacked(by_taken(shown, examination, 10_000))
        fusion.fit(lists, lists, NAMES)
        return quality(fusion)

    corrected, plain = fitted(examination_of(shown)), fitted(Examination.flat())
    assert corrected > plain + gain


def test_lists_that_were_shown_are_learned_from_and_measured_apart():
    shown = by_taken(logged(300), examination_of(logged(300)), 10_000)
    random = np.random.default_rng(5)
    of_folds = []
    for user, (features, relevant) in enumerate(worlds(100, 7)):
        labels = (random.random(CANDIDATES) < relevant).astype(np.float32)
        of_folds.append(LearnedList(ListKind.WARM, f"user-{user}", features, labels, held=user % 5 == 1))
    both = train(Protocol.WARM, ["linear"], [*of_folds, *shown], "", FitContext())
    alone = train(Protocol.WARM, ["linear"], of_folds, "", FitContext())
    assert set(both.validation["linear"]) == {"ndcg@10", "ndcg@10 warm", "ndcg@10 shown"}
    assert both.validation["linear"]["ndcg@10"] == both.validation["linear"]["ndcg@10 warm"]
    asked = RankingInput.plain(worlds(100, 7)[0][0])
    assert not np.allclose(both.fusions["linear"].predict(asked), alone.fusions["linear"].predict(asked), atol=1e-3)
    assert len(both.gates["linear"]) == len(alone.gates["linear"])
    # A list counts by its weight: that of weight 0 does not.
    fusion, held = alone.fusions["linear"], [one for one in shown if one.held]
    ignored = [replace(one, weight=0.0) for one in held[1:]]
    assert measure(fusion, [held[0], *ignored])["ndcg@10 shown"] == pytest.approx(
        measure(fusion, held[:1])["ndcg@10 shown"]
    )


def test_rows_of_shown_lists_teach_the_further_tasks_nothing():
    shown = by_taken(logged(300)[:2], Examination.flat(), 10)
    of_fold = replace(shown[0], kind=ListKind.WARM, positions=np.zeros(0, dtype=np.int64))
    lists = stacked([of_fold, shown[1]])
    np.testing.assert_array_equal(lists.outcomes["like"][:ROWS], of_fold.labels)
    assert np.isnan(lists.outcomes["like"][ROWS:]).all()
    assert stacked([of_fold]).outcomes == {}
