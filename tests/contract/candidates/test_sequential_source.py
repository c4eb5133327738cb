"""Transitions between items, against loops over all pairs of likes."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources.hyperparameters import SequentialParameters
from services.candidates.sources.sequential import SequentialModel, SequentialSource
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract

DAY = 86_400.0
START = 1_600_000_000.0
PARAMETERS = SequentialParameters(
    window=6, half_life=3.0, gap_half_life_days=20.0, neighbours=12, last=25, recency_half_life_days=40.0
)


def likes_of_orders(orders, times, n_items):
    """Likes of users who liked these items at these times, the oldest first."""
    users = tuple(f"u{number:03}" for number in range(len(orders)))
    lengths = [len(one) for one in orders]
    rows = np.repeat(np.arange(len(orders)), lengths)
    sequence = np.concatenate([np.zeros(0, np.int64), *orders]).astype(np.int64)
    matrix = sp.csr_matrix((np.ones(len(sequence), np.float32), (rows, sequence)), shape=(len(orders), n_items))
    matrix.sort_indices()
    return Likes(matrix, np.zeros(n_items, np.int64), users, sequence, np.concatenate([np.zeros(0), *times]))


def random_orders(dense, seed=4):
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(np.flatnonzero(row)) for row in dense]
    times = [START + np.cumsum(rng.choice([0.0, 60.0, 9 * DAY], len(one))) for one in orders]
    return likes_of_orders(orders, times, dense.shape[1])


def slow_transitions(likes, p):
    """What each item leads to: {item: {item: weight}}, the largest only."""
    counts = Counter(likes.sequence.tolist())
    weights = defaultdict(lambda: defaultdict(float))
    for start, end in zip(likes.matrix.indptr[:-1], likes.matrix.indptr[1:], strict=True):
        items, times = likes.sequence[start:end].tolist(), likes.times[start:end].tolist()
        for here, item in enumerate(items):
            for there, other in enumerate(items):
                distance = there - here
                if distance and abs(distance) <= p.window:
                    weight = 0.5 ** ((abs(distance) - 1) / p.half_life)
                    weight *= 0.5 ** (abs(times[there] - times[here]) / DAY / p.gap_half_life_days)
                    weights[item][other] += weight if distance > 0 else p.backward * weight
    kept = {}
    for item, others in weights.items():
        scaled = {
            other: weight / counts[item] ** p.item_power / counts[other] ** p.popularity_power
            for other, weight in others.items()
            if counts[other] >= p.min_likes
        }
        kept[item] = dict(sorted(scaled.items(), key=lambda pair: (-pair[1], pair[0]))[: p.neighbours])
    return kept


class TestSequential(CandidateSourceContract):
    parameters = PARAMETERS

    def fit(self, likes):
        own = random_orders(likes)
        return own, SequentialModel.fit(own, self.parameters)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], SequentialModel.load(folder)

    def source(self, fitted):
        return SequentialSource(fitted[1])

    def profile(self, liked):
        times = START + 13 * DAY * np.arange(len(liked))
        return Profile(liked, np.ones(len(liked), np.float32), times=times)

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        p = self.parameters
        weights = slow_transitions(fitted[0], p)
        scores = np.full(N_ITEMS, np.nan)
        for age, item in enumerate(liked[::-1][: p.last].tolist()):
            share = (1 + age) ** -p.recency_power * 0.5 ** (13 * age / p.recency_half_life_days)
            for other, weight in weights.get(item, {}).items():
                scores[other] = np.nan_to_num(scores[other]) + share * weight
        return scores.astype(np.float32)

    def test_a_model_that_keeps_nothing_is_silent(self):
        model = SequentialModel.fit(random_orders(np.eye(5, dtype=np.float32)), self.parameters)
        assert SequentialSource(model).n_items == 0
        assert "no liked item" in SequentialSource(model).propose(self.profile(np.array([3])), 5, Allowed(ALL)).reason


class TestSequentialOfALargeCatalogue(TestSequential):
    """The way that sums are kept where there are many items, with few transitions each."""

    parameters = replace(PARAMETERS, neighbours=3, last=4, min_likes=6)

    @pytest.fixture(autouse=True)
    def large(self, monkeypatch):
        monkeypatch.setattr("services.candidates.sources.sums.DENSE_ROWS", N_ITEMS - 1)


ALL = np.ones(N_ITEMS, bool)


def follows(model, liked, n_items, **fields):
    profile = Profile(np.array(liked, np.int64), np.ones(len(liked), np.float32), **fields)
    return SequentialSource(model).propose(profile, n_items, Allowed.everything(n_items)).rows.tolist()


def test_order_decides_what_comes_next():
    orders = [np.array([0, 1, 2])] * 5
    model = SequentialModel.fit(
        likes_of_orders(orders, [START + np.arange(3.0)] * 5, 3), replace(PARAMETERS, window=1, backward=0.0)
    )
    assert follows(model, [0], 3) == [1]
    assert follows(model, [1], 3) == [2]
    assert follows(model, [2], 3) == []


def test_what_was_tried_is_part_of_the_sequence():
    likes = likes_of_orders([np.array([0])] * 4, [np.array([START])] * 4, 3)
    one = np.ones(4, np.float32)
    tried = sp.csr_matrix((one, (np.arange(4), np.full(4, 1))), shape=(4, 3))
    likes = replace(likes, tried=tried, tried_sequence=np.full(4, 1), tried_times=np.full(4, START + 60))
    parameters = replace(PARAMETERS, backward=0.0)
    model = SequentialModel.fit(likes, parameters)
    assert follows(model, [0], 3) == [1]
    turned = SequentialModel.fit(replace(likes, tried_times=np.full(4, START - 60)), parameters)
    assert follows(turned, [0], 3) == []
    assert follows(turned, [], 3, tried=np.array([1])) == [0]
    without = SequentialModel.fit(likes, replace(parameters, tried_weight=0.0))
    assert follows(without, [0], 3) == []


def test_nothing_that_was_tried_counts_where_training_knew_of_none():
    model = SequentialModel.fit(likes_of_orders([np.array([0, 1])] * 4, [START + np.arange(2.0)] * 4, 3), PARAMETERS)
    assert follows(model, [0], 3) == [1]
    assert follows(model, [], 3, tried=np.array([0])) == []


def test_the_newest_like_weighs_most():
    orders = [np.array([0, 1])] * 4 + [np.array([2, 3])] * 4
    model = SequentialModel.fit(likes_of_orders(orders, [START + np.arange(2.0)] * 8, 4), PARAMETERS)
    assert follows(model, [0, 2], 4)[0] == 3
    assert follows(model, [2, 0], 4)[0] == 1


def test_time_that_has_passed_for_all_likes_changes_nothing():
    model = SequentialModel.fit(random_orders((np.random.default_rng(1).random((30, 20)) < 0.4) * 1.0), PARAMETERS)
    times = START + DAY * np.arange(4.0)
    lists = [follows(model, [3, 7, 1, 9], 20, times=times - years * 365 * DAY, asked_at=START) for years in (1, 40)]
    assert lists[0] == lists[1]
    assert len(lists[0]) > 5


def test_items_with_few_likes_are_no_targets_but_still_lead_somewhere():
    orders = [np.array([0, 1])] * 3 + [np.array([2, 0])]
    model = SequentialModel.fit(likes_of_orders(orders, [START + np.arange(2.0)] * 4, 3), PARAMETERS)
    assert follows(model, [2], 3) == [0]
    assert 2 not in follows(model, [0, 1], 3)


def test_users_do_not_mix():
    likes = random_orders((np.random.default_rng(3).random((30, 20)) < 0.3) * 1.0)
    model = SequentialModel.fit(likes, replace(PARAMETERS, window=100, neighbours=20, min_likes=1))
    both = (likes.matrix.T @ likes.matrix).toarray()
    for item in range(20):
        own = model.columns[model.indptr[item] : model.indptr[item + 1]]
        assert own.tolist() == [other for other in np.flatnonzero(both[item]).tolist() if other != item]


def test_counting_in_small_parts_gives_the_same_weights(monkeypatch):
    likes = random_orders((np.random.default_rng(3).random((60, 40)) < 0.4) * 1.0)
    whole = SequentialModel.fit(likes, PARAMETERS)
    monkeypatch.setattr("services.candidates.sources.sequential_fit._PAIRS", 70)
    parts = SequentialModel.fit(likes, PARAMETERS)
    assert whole.indptr.tolist() == parts.indptr.tolist()
    assert whole.columns.tolist() == parts.columns.tolist()
    np.testing.assert_allclose(whole.weights, parts.weights, rtol=1e-5)
