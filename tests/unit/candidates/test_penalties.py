"""Penalties that depend on the number of likes, against half-steps of ALS written out in numpy."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from services.candidates.live.item_factors import ItemFactors
from services.candidates.profile import Profile
from services.candidates.sources.als import AlsModel
from services.candidates.sources.hyperparameters import AlsParameters
from services.candidates.sources.penalties import RATIO, PenaltyWeights
from services.candidates.training.als_fit import ScaledAls

PARAMETERS = AlsParameters(factors=6, regularization=3.0, regularization_power=0.5, iterations=60)
N_USERS, N_ITEMS = 80, 40


@pytest.fixture(scope="module")
def likes():
    """Users and items of very different numbers of likes; item 5 has none."""
    rng = np.random.default_rng(4)
    chance = np.outer(np.linspace(0.05, 0.9, N_USERS), np.linspace(0.1, 1.0, N_ITEMS))
    matrix = (rng.random((N_USERS, N_ITEMS)) < chance) * rng.choice([0.5, 1.0, 2.0], (N_USERS, N_ITEMS))
    matrix[:, 5] = 0
    matrix[:, 6] = np.arange(N_USERS) == 1
    return matrix.astype(np.float32)


@pytest.fixture(scope="module")
def model(likes):
    return AlsModel.fit(sp.csr_matrix(likes), PARAMETERS, seed=1, threads=1)


def half_step(confidences, fixed, power):
    """Row by row: (F'F + F'(C - I)F + reg n^power / mean I)^-1 F'c, with n rounded down to a power of `RATIO`."""
    counts = (confidences > 0).sum(axis=1)
    levels = [RATIO ** (power * np.floor(np.log(n) / np.log(RATIO))) if n else np.nan for n in counts]
    solved = np.zeros((len(confidences), fixed.shape[1]))
    for row, own in enumerate(confidences.astype(np.float64)):
        if counts[row]:
            penalty = PARAMETERS.regularization * levels[row] / np.nanmean(levels)
            every = np.where(own > 0, own, 1.0)
            left = fixed.T @ (every[:, None] * fixed) + penalty * np.eye(fixed.shape[1])
            solved[row] = np.linalg.solve(left, fixed.T @ own)
    return solved


def confidences_of(model, likes):
    """BM25 weights as the class says, for all users, (users, items)."""
    totals = (likes > 0).sum(axis=1, keepdims=True)
    norm = model.bm25.k1 * (1 - model.bm25.b + model.bm25.b * totals / model.bm25.mean_likes)
    return likes * (model.bm25.k1 + 1) / (norm + likes) * model.bm25.idf


def test_weights_grow_with_the_power_and_their_mean_is_1():
    counts = np.array([0, 1, 3, 10, 100, 100])
    for power in (-0.5, 0.25, 1.0):
        weights = PenaltyWeights.fit(counts, power)
        of = weights.of(counts)
        assert of[1:].mean() == pytest.approx(1.0)
        assert of[0] == of[1]
        assert of[4] / of[1] == pytest.approx(100**power, rel=RATIO ** abs(power) - 1)
        assert [weights.of_one(count) for count in counts] == of.tolist()


@pytest.mark.parametrize(("counts", "power"), [([0, 1, 50], 0.0), ([0, 0], 0.5), ([], 0.5)])
def test_without_a_power_or_likes_every_weight_is_1(counts, power):
    weights = PenaltyWeights.fit(np.array(counts, np.int64), power)
    assert weights.of(np.array([0, 1, 7, 900])).tolist() == [1.0] * 4


@pytest.mark.parametrize("power", [-0.5, 0.5, 1.0])
def test_rows_solved_by_weight_are_those_of_the_half_step(likes, power):
    rng = np.random.default_rng(5)
    fixed = rng.standard_normal((N_ITEMS, 6)).astype(np.float32)
    solved = np.zeros((N_USERS, 6), np.float32)
    # As many steps of the conjugate gradient as there are factors: exact.
    als = ScaledAls(power, factors=6, regularization=PARAMETERS.regularization, num_threads=1)
    als.cg_steps = 6
    with threadpool_limits(1, "blas"):
        als.solver(sp.csr_matrix(3 * likes), solved, fixed, PARAMETERS.regularization, num_threads=1)
    np.testing.assert_allclose(solved, half_step(3 * likes, fixed.astype(np.float64), power), rtol=1e-2, atol=1e-4)


def test_a_fitted_model_is_where_half_steps_lead_back_to(model, likes):
    confidences = confidences_of(model, likes)
    users = half_step(confidences, model.factors.astype(np.float64), 0.5)
    items = half_step(confidences.T, users, 0.5)
    np.testing.assert_allclose(model.factors, items, atol=0.02 * np.abs(items).max())
    np.testing.assert_allclose(model.user_gram, users.T @ users, rtol=0.05, atol=0.02 * np.abs(model.user_gram).max())


def test_users_and_items_are_folded_in_with_the_penalty_of_training(model, likes):
    confidences = confidences_of(model, likes)
    users = half_step(confidences, model.factors.astype(np.float64), 0.5)
    for row in (0, 40, N_USERS - 1):
        liked = np.flatnonzero(likes[row])
        folded = model.fold_in(Profile(liked, likes[row, liked]))
        np.testing.assert_allclose(folded, users[row], rtol=1e-3, atol=1e-4)
    # The BM25 norm of an item's likers is that of the average user, so the weights are given here.
    factors = ItemFactors(replace(model, user_gram=(users.T @ users).astype(np.float32)))
    for item in (6, 20, N_ITEMS - 1):
        likers = np.flatnonzero(likes[:, item])
        for liker in likers.tolist():
            factors.add(item, str(liker), users[liker].astype(np.float32), float(likes[liker, item]))
        weights = np.zeros((N_ITEMS, N_USERS))
        for column in range(N_ITEMS):
            own = likes[:, column]
            weights[column] = own * (model.bm25.k1 + 1) / (model.bm25.k1 + own) * model.bm25.idf[column]
        expected = half_step(weights, users, 0.5)[item]
        np.testing.assert_allclose(factors.vector(item, None), expected, rtol=1e-3, atol=1e-4)


def test_a_stored_model_folds_in_with_the_same_penalties(model, likes, tmp_path):
    model.save(tmp_path)
    loaded = AlsModel.load(tmp_path)
    assert (loaded.user_penalties, loaded.item_penalties) == (model.user_penalties, model.item_penalties)
    assert model.user_penalties != model.item_penalties
    liked = np.flatnonzero(likes[-1])
    vectors = [one.fold_in(Profile(liked, likes[-1, liked])) for one in (model, loaded)]
    np.testing.assert_allclose(*vectors, rtol=1e-5)


def test_power_0_is_the_library_as_it_is(likes):
    one_penalty = replace(PARAMETERS, regularization_power=0.0, iterations=5)
    model = AlsModel.fit(sp.csr_matrix(likes), one_penalty, seed=1, threads=1)
    with threadpool_limits(1, "blas"):
        plain = AlternatingLeastSquares(
            factors=6, regularization=3.0, alpha=1.0, iterations=5, random_state=1, num_threads=1
        )
        plain.fit(sp.csr_matrix(confidences_of(model, likes).astype(np.float32)), show_progress=False)
    np.testing.assert_allclose(model.factors[model.known], plain.item_factors[model.known], rtol=1e-4, atol=1e-5)
    scaled = AlsModel.fit(sp.csr_matrix(likes), replace(one_penalty, regularization_power=0.5), seed=1, threads=1)
    assert np.abs(scaled.factors - model.factors).max() > 0.01 * np.abs(model.factors).max()
