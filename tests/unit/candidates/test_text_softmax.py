"""The map from text to factors, moved to rank what users like first."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from scipy.optimize import check_grad

from services.candidates.profile import Profile
from services.candidates.sources.aligned_text import KIND, ItemTexts, TextMap
from services.candidates.sources.als import AlsModel
from services.candidates.sources.hyperparameters import AlsParameters, Hyperparameters, TextParameters
from services.candidates.sources.kind import TrainingData
from services.candidates.training import text_softmax
from services.candidates.training.likes import Likes
from services.candidates.training.text_softmax import _Objective, drawn, refit
from shared.data.nouns import Item

N_USERS, N_ITEMS, NEW, DIM = 300, 150, 30, 12
PARAMETERS = TextParameters(temperature=0.1, pull=1.0, softmax_steps=30)


def world():
    """Likes follow the first coordinates of the items' texts; the others are noise. The last items have no likes."""
    rng = np.random.default_rng(6)
    texts = rng.standard_normal((N_ITEMS, DIM)).astype(np.float32)
    tastes = rng.standard_normal((N_USERS, 4))
    chance = 1 / (1 + np.exp(3.5 - 1.5 * tastes @ texts[:, :4].T))
    would = rng.random((N_USERS, N_ITEMS)) < chance
    seen = would.copy()
    seen[:, -NEW:] = False
    return texts, sp.csr_matrix(seen.astype(np.float32)), would


@pytest.fixture(scope="module")
def fitted():
    texts, likes, would = world()
    als = AlsModel.fit(likes, AlsParameters(factors=8, regularization=3.0), seed=1, threads=1)
    return texts, likes, would, als


def loss_of(weights, texts, likes, als, temperature):
    """The loss, user by user, as the docstring of `refit` writes it."""
    total = 0.0
    for row in likes.toarray():
        liked = np.flatnonzero(row)
        if len(liked):
            logits = texts @ weights.astype(np.float64) @ als.fold_in(Profile(liked, row[liked])) / temperature
            total += (np.log(np.exp(logits).sum()) - logits[liked]).sum() / np.sqrt(len(liked))
    return total


def test_the_loss_is_as_written_and_the_gradient_is_its_own(fitted):
    texts, likes, _, als = fitted
    rng = np.random.default_rng(7)
    start, moved = rng.standard_normal((2, DIM, 8)) * 0.1
    liked = likes[np.diff(likes.indptr) > 0][:, :-NEW]
    users = np.stack([als.fold_in(Profile(row.indices.astype(np.int64), row.data)) for row in liked]) / 0.1
    # In double precision, so that differences say something of a gradient.
    pull = 500.0
    objective = _Objective(start, texts[:-NEW].astype(np.float64), users.astype(np.float64), liked, pull)
    expected = loss_of(start + moved, texts[:-NEW], liked, als, 0.1) + pull / 2 * (moved**2).sum()
    at = moved.ravel()
    loss, gradient = objective(at)
    assert loss == pytest.approx(expected, rel=1e-4)
    off = check_grad(lambda point: objective(point)[0], lambda point: objective(point)[1], at, epsilon=1e-3)
    # Small against either part of the gradient, that of the pull and that of the likes.
    assert off < 0.1 * pull * np.linalg.norm(moved)
    assert off < 0.1 * np.linalg.norm(gradient - pull * at)


def test_a_refit_lowers_the_loss_and_a_strong_pull_holds_it(fitted):
    texts, likes, _, als = fitted
    rows = np.arange(N_ITEMS - NEW)
    start = np.zeros((DIM, 8), np.float32)
    moved = refit(start, texts[rows], rows, likes, als, PARAMETERS, seed=1)
    before, after = (loss_of(one, texts[rows], likes, als, 0.1) for one in (start, moved))
    assert moved.dtype == np.float32
    assert after < 0.97 * before
    held = refit(start, texts[rows], rows, likes, als, replace(PARAMETERS, pull=1e9), seed=1)
    assert np.abs(held).max() < 1e-4


def test_without_likes_the_map_stays(fitted):
    texts, likes, _, als = fitted
    start = np.ones((DIM, 8), np.float32)
    for nothing in (likes[:0], sp.csr_matrix(likes.shape, dtype=np.float32)):
        kept = refit(start, texts, np.arange(N_ITEMS), nothing, als, PARAMETERS, seed=1)
        np.testing.assert_array_equal(kept, start)


def test_of_many_rows_a_part_is_drawn_by_the_seed():
    rows = np.arange(100, 200)
    np.testing.assert_array_equal(drawn(rows, 100, 1), rows)
    one, again, other = (drawn(rows, 20, seed) for seed in (1, 1, 2))
    assert len(set(one.tolist())) == 20
    assert set(one.tolist()) <= set(rows.tolist())
    assert (np.diff(one) > 0).all()
    np.testing.assert_array_equal(one, again)
    assert one.tolist() != other.tolist()


def test_of_many_users_and_items_a_part_is_looked_at(fitted, monkeypatch):
    monkeypatch.setattr(text_softmax, "MAX_USERS", 40)
    monkeypatch.setattr(text_softmax, "MAX_ITEMS", 30)
    shapes = []

    class Spy(_Objective):
        def __init__(self, start, features, users, liked, pull):
            shapes.append((len(features), len(users), liked.shape))
            super().__init__(start, features, users, liked, pull)

    monkeypatch.setattr(text_softmax, "_Objective", Spy)
    texts, likes, _, als = fitted
    items = [Item(str(row), f"title {row}") for row in range(N_ITEMS)]
    item_texts = ItemTexts(texts, texts)
    ridge = TextMap.fit(items, item_texts, als.factors, likes.getnnz(axis=0), PARAMETERS)
    moved = ridge.fit_to_likes(items, item_texts, likes, als, seed=1)
    assert shapes == [(30, 40, (40, 30))]
    assert np.abs(moved.weights - ridge.weights).max() > 0


def test_the_source_is_fitted_to_likes_unless_there_are_no_steps(fitted):
    texts, matrix, _, als = fitted
    vectors = texts / np.linalg.norm(texts, axis=1, keepdims=True)
    # An item with likes and without text takes no part.
    vectors[3] = np.nan
    item_texts = ItemTexts(vectors, vectors)
    items = [Item(str(row), f"title {row}") for row in range(N_ITEMS)]
    likes = Likes(matrix, np.zeros(N_ITEMS, np.int64), (), np.zeros(0, np.int64), np.zeros(0))
    maps = {
        steps: KIND.fit(
            TrainingData(items, item_texts, likes, Hyperparameters(text=replace(PARAMETERS, softmax_steps=steps))),
            {"als": als},
        )
        for steps in (0, 30)
    }
    known = np.flatnonzero((np.arange(N_ITEMS) < N_ITEMS - NEW) & (np.arange(N_ITEMS) != 3))
    losses = [
        loss_of(np.eye(8), one.map(items, item_texts)[known], matrix[:, known], als, 0.1) for one in maps.values()
    ]
    assert losses[1] < losses[0]
    assert np.isnan(maps[30].map(items, item_texts)[3]).all()
    np.testing.assert_array_equal(maps[0].attribute_weights, maps[30].attribute_weights)
