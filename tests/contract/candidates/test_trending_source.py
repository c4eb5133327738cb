"""Time-decayed likes, against a sum over the likes."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.index.allowed import Allowed
from services.candidates.ports import LiveSource
from services.candidates.profile import Profile
from services.candidates.sources.hyperparameters import TrendingParameters
from services.candidates.sources.trending import TrendingSource
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import CandidateSourceContract

DAY = 86_400.0
START = 1_600_000_000.0
HALF_LIFE = TrendingParameters(half_life_days=10.0)
NOBODY = Profile(np.zeros(0, np.int64), np.zeros(0, np.float32))


def timed(dense, seed=4):
    """The likes in random order, a random time between each and the next."""
    rng = np.random.default_rng(seed)
    matrix = sp.csr_matrix(dense)
    own = [rng.permutation(np.flatnonzero(row)) for row in dense]
    times = [START + np.cumsum(rng.exponential(5 * DAY, len(one))) for one in own]
    users = tuple(f"u{number:03}" for number in range(len(dense)))
    return Likes(matrix, np.zeros(dense.shape[1], np.int64), users, np.concatenate(own), np.concatenate(times))


def decayed(likes, n_items, half_life_days=10.0):
    sums = [0.0] * n_items
    newest = max(likes.times.tolist(), default=0.0)
    for item, time in zip(likes.sequence.tolist(), likes.times.tolist(), strict=True):
        sums[item] += 2.0 ** ((time - newest) / (half_life_days * DAY))
    return np.log(1.0 + np.array(sums)).astype(np.float32)


class TestTrending(CandidateSourceContract):
    personal = False

    def fit(self, likes):
        own = timed(likes)
        return own, TrendingSource.fit(own, HALF_LIFE)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], TrendingSource.load(folder)

    def source(self, fitted):
        return fitted[1]

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32), asked_at=START + 9_000 * DAY)

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        del liked
        return decayed(fitted[0], fitted[0].matrix.shape[1])


def small(rng, n_users=12, n_items=9):
    return timed((rng.random((n_users, n_items)) < 0.4).astype(np.float32), seed=int(rng.integers(99)))


@pytest.mark.parametrize("half_life_days", [0.1, 10.0, 3_000.0])
def test_likes_counted_live_are_those_of_a_training(half_life_days):
    parameters = TrendingParameters(half_life_days)
    likes = small(np.random.default_rng(1))
    order = np.argsort(likes.times)
    first, later = order[:20], order[20:]
    early = Likes(likes.matrix, likes.events, likes.users, likes.sequence[first], likes.times[first])
    source = TrendingSource.fit(early, parameters)
    assert isinstance(source, LiveSource)
    for place in later.tolist():
        source.like("u", int(likes.sequence[place]), float(likes.times[place]))
    trained = TrendingSource.fit(likes, parameters)
    rows = np.arange(9)
    np.testing.assert_allclose(source.score(NOBODY, rows), trained.score(NOBODY, rows), atol=1e-6)
    every = Allowed.everything(9)
    assert source.propose(NOBODY, 9, every).rows.tolist() == trained.propose(NOBODY, 9, every).rows.tolist()


def test_a_like_taken_back_leaves_nothing():
    likes = small(np.random.default_rng(2))
    source = TrendingSource.fit(likes, HALF_LIFE)
    before = source.score(NOBODY, np.arange(9))
    source.like("u", 4, likes.newest - DAY)
    assert source.score(NOBODY, np.arange(9))[4] > before[4]
    source.take_back("u", 4, likes.newest - DAY)
    np.testing.assert_allclose(source.score(NOBODY, np.arange(9)), before, atol=1e-6)


def test_years_without_a_like_change_neither_order_nor_scores():
    source = TrendingSource.fit(small(np.random.default_rng(3)), HALF_LIFE)
    asked = [Profile(NOBODY.liked, NOBODY.strengths, asked_at=START + years * 365 * DAY) for years in (1, 50)]
    lists = [source.propose(one, 9, Allowed.everything(9)) for one in asked]
    assert lists[0].rows.tolist() == lists[1].rows.tolist()
    assert lists[1].scores.tolist() == lists[0].scores.tolist()
    assert lists[1].scores[0] > 0


def test_thousands_of_half_lives_of_likes_stay_finite_and_the_newest_leads():
    source = TrendingSource(np.zeros(4), 0.0, 0.0, half_life_days=1.0)
    for day in range(0, 20_000, 7):
        source.like("u", day // 7 % 3, day * DAY)
    source.like("u", 3, 20_000 * DAY)
    scores = source.score(NOBODY, np.arange(4))
    assert np.isfinite(scores).all()
    assert source.propose(NOBODY, 1, Allowed.everything(4)).rows.tolist() == [3]
    assert scores[3] == np.float32(np.log(2))


def test_an_old_item_with_many_likes_gives_way_to_a_few_of_today():
    source = TrendingSource(np.zeros(2), 0.0, 0.0, half_life_days=30.0)
    for _ in range(100):
        source.like("u", 0, START)
    source.like("u", 1, START + 365 * DAY)
    assert source.propose(NOBODY, 2, Allowed.everything(2)).rows.tolist() == [1, 0]


def test_after_a_reset_an_older_log_counts_anew():
    source = TrendingSource.fit(small(np.random.default_rng(5)), HALF_LIFE)
    source.reset()
    assert source.score(NOBODY, np.arange(9)).tolist() == [0.0] * 9
    source.grow(12)
    source.like("u", 11, START - 5_000 * DAY)
    assert source.n_items == 12
    assert source.score(NOBODY, np.array([0, 11])).tolist() == [0.0, np.float32(np.log(2))]
