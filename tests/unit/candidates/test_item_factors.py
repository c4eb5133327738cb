"""Items folded in from their likers, against the closed form and against a training that saw the likes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.live import item_factors as module
from services.candidates.live.item_factors import ItemFactors
from services.candidates.profile import Profile
from services.candidates.sources.als import AlsModel
from services.candidates.sources.hyperparameters import AlsParameters

PARAMETERS = AlsParameters(factors=8, regularization=5.0, iterations=30)
N_USERS, N_ITEMS, HIDDEN = 400, 120, 12


@cache
def likes():
    """Three tastes; the last twelve items are liked by as many as the others."""
    rng = np.random.default_rng(2)
    chance = np.where(np.arange(N_USERS)[:, None] % 3 == np.arange(N_ITEMS)[None, :] % 3, 0.3, 0.03)
    return (rng.random((N_USERS, N_ITEMS)) < chance).astype(np.float32)


@cache
def models():
    """A model that saw everything, and one that saw nothing of the last items."""
    before = likes().copy()
    before[:, -HIDDEN:] = 0
    return tuple(AlsModel.fit(sp.csr_matrix(one), PARAMETERS, seed=1, threads=1) for one in (likes(), before))


def profile(row):
    liked = np.flatnonzero(row)
    return Profile(liked, np.ones(len(liked), np.float32))


def spearman(one, other):
    ranks = [np.argsort(np.argsort(values)) for values in (one, other)]
    return np.corrcoef(ranks)[0, 1]


def test_items_folded_in_rank_users_as_a_refit_does():
    refit, model = models()
    users_then = np.stack([refit.fold_in(profile(row)) for row in likes()])
    users_now = np.stack([model.fold_in(profile(row[:-HIDDEN])) for row in likes()])
    factors = ItemFactors(model)
    agreements, overlaps = [], []
    for item in range(N_ITEMS - HIDDEN, N_ITEMS):
        for user in np.flatnonzero(likes()[:, item]).tolist():
            factors.add(item, str(user), users_now[user], 1.0)
        now, then = users_now @ factors.vector(item, None), users_then @ refit.factors[item]
        agreements.append(spearman(now, then))
        top = [set(np.argsort(-scores)[:50].tolist()) for scores in (now, then)]
        overlaps.append(len(top[0] & top[1]) / 50)
    assert np.mean(agreements) > 0.85
    assert np.mean(overlaps) > 0.6


def test_users_folded_in_rank_items_as_a_refit_does():
    matrix = likes()
    refit = AlsModel.fit(sp.csr_matrix(matrix), PARAMETERS, seed=1, threads=1)
    without = AlsModel.fit(sp.csr_matrix(matrix[:-40]), PARAMETERS, seed=1, threads=1)
    agreements, overlaps = [], []
    for row in matrix[-40:]:
        now, then = (model.factors @ model.fold_in(profile(row)) for model in (without, refit))
        agreements.append(spearman(now, then))
        top = [set(np.argsort(-scores)[:20].tolist()) for scores in (now, then)]
        overlaps.append(len(top[0] & top[1]) / 20)
    assert np.mean(agreements) > 0.8
    assert np.mean(overlaps) > 0.65


def test_a_vector_solves_the_half_step():
    _, model = models()
    factors = ItemFactors(model)
    rng = np.random.default_rng(3)
    users = rng.standard_normal((5, 8)).astype(np.float32)
    prior = 100 * rng.standard_normal(8).astype(np.float32)
    for number, user in enumerate(users):
        factors.add(7, str(number), user, 1.0 + number)
    strengths = np.arange(1.0, 6.0)
    idf = np.log(N_USERS) - np.log1p(5)
    confidence = strengths * (model.bm25.k1 + 1) / (model.bm25.k1 + strengths) * idf
    left = model.user_gram.astype(np.float64) + users.T @ ((confidence - 1)[:, None] * users) + 5.0 * np.eye(8)
    expected = np.linalg.solve(left, users.T @ confidence + 5.0 * prior)
    np.testing.assert_allclose(factors.vector(7, prior), expected, rtol=1e-3, atol=1e-3)


def test_likes_move_an_item_no_further_than_its_text_reaches():
    _, model = models()
    factors = ItemFactors(model)
    mapped = np.full(8, 1e-3, np.float32)
    for number in range(50):
        factors.add(0, str(number), np.ones(8, np.float32), 1.0)
    moved = factors.vector(0, mapped)
    assert np.linalg.norm(moved - mapped) == pytest.approx(module.MAX_DELTA * np.linalg.norm(mapped), rel=1e-4)


def test_what_is_kept_is_bounded_and_the_newest_stay(monkeypatch):
    monkeypatch.setattr(module, "MAX_ITEMS", 2)
    monkeypatch.setattr(module, "MAX_LIKERS", 2)
    _, model = models()
    factors = ItemFactors(model)
    for row in (1, 2, 3):
        factors.add(row, "u", np.ones(8, np.float32), 1.0)
    assert [factors.has(row) for row in (1, 2, 3)] == [False, True, True]
    few = ItemFactors(model)
    for user in ("b", "c"):
        few.add(3, user, np.full(8, ord(user), np.float32), 1.0)
    for user in ("a", "b", "c"):
        factors.add(3, user, np.full(8, ord(user), np.float32), 1.0)
    np.testing.assert_array_equal(factors.vector(3, None), few.vector(3, None))


def test_forgotten_users_and_likes_taken_back_leave_no_trace():
    _, model = models()
    rng = np.random.default_rng(4)
    stays, goes = rng.standard_normal((2, 8)).astype(np.float32)
    factors, alone = ItemFactors(model), ItemFactors(model)
    for one in (factors, alone):
        one.add(5, "stays", stays, 1.0)
    factors.add(5, "goes", goes, 1.0)
    factors.add(6, "goes", goes, 1.0)
    assert factors.forget("goes") == [5, 6]
    np.testing.assert_array_equal(factors.vector(5, None), alone.vector(5, None))
    assert not factors.has(6)
    assert factors.drop(5, "stays")
    assert not factors.drop(5, "stays")
    assert not factors.has(5)
