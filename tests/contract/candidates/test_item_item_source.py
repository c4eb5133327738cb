"""The linear item-item models against dense solves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources import co_occurrence, sums
from services.candidates.sources.hyperparameters import ItemItemParameters
from services.candidates.sources.item_item import ItemItemModel, ItemItemSource
from services.candidates.sources.item_item_sparse import fit_sparse, kept_co_occurrences
from services.candidates.sources.views import views
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract, taste_matrix

EASE = ItemItemParameters(regularization=4.0, min_likes=3, neighbours=N_ITEMS)
SPARSE = replace(EASE, max_items=2, local_items=N_ITEMS, local_regularization=4.0)


def likes_of(dense):
    matrix = sp.csr_matrix(dense.astype(np.float32))
    counts = np.bincount(matrix.indices, minlength=dense.shape[1]).astype(np.int64)
    ids = tuple(map(str, range(len(dense))))
    return Likes(matrix, counts, ids, matrix.indices.astype(np.int64), np.zeros(matrix.nnz))


def dense_weights(model):
    weights = model.weights
    return sp.csr_matrix((weights.weights, weights.columns, weights.indptr), shape=(weights.size,) * 2).toarray()


class TestEase(CandidateSourceContract):
    parameters = EASE

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)

    def fit(self, likes):
        return likes, ItemItemModel.fit(likes_of(likes), self.parameters)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], ItemItemModel.load(folder)

    def source(self, fitted):
        return ItemItemSource(fitted[1])

    def solve(self, likes):
        inverse = np.linalg.inv(likes.T @ likes + 4.0 * np.eye(likes.shape[1]))
        weights = -inverse / np.diag(inverse)[None, :]
        np.fill_diagonal(weights, 0)
        return weights

    def oracle(self, fitted, liked):
        likes = fitted[0].astype(np.float64)
        known = likes.sum(axis=0) >= self.parameters.min_likes
        full = np.zeros((N_ITEMS, N_ITEMS))
        full[np.ix_(known, known)] = self.solve(likes[:, known])
        return np.where(known, full[liked].sum(axis=0), np.nan).astype(np.float32)


class TestEaseWithMoreUsersThanItems(TestEase):
    """The other of the two ways to solve."""

    def fit(self, likes):
        return super().fit(np.vstack([likes, likes, likes]))


class TestEaseOfTheNewestLikes(TestEase):
    """A view of a source is a source."""

    def source(self, fitted):
        return {view.name: view for view in views({"item_item": super().source(fitted)})}["item_item_recent"]

    def oracle(self, fitted, liked):
        return super().oracle(fitted, liked[-5:])


class TestSparse(TestEase):
    """Every item against those with a common user: one ridge regression each, as the textbook has it."""

    parameters = SPARSE

    def solve(self, likes):
        items = likes.shape[1]
        weights = np.zeros((items, items))
        for item in range(items):
            around = np.flatnonzero(likes[:, item] @ likes * (np.arange(items) != item))
            own = likes[:, around]
            solved = np.linalg.solve(own.T @ own + 4.0 * np.eye(len(around)), own.T @ likes[:, item])
            weights[around, item] = solved
        return weights


class TestSparseOfALargeCatalogue(TestSparse):
    """The other of the two ways to add up, and a block for every few items."""

    @pytest.fixture(autouse=True)
    def _large(self, monkeypatch):
        monkeypatch.setattr(sums, "DENSE_ROWS", 0)
        monkeypatch.setattr(co_occurrence, "BLOCK_PRODUCTS", 200)


def test_fewer_neighbours_keep_the_largest_weights():
    likes = likes_of((np.random.default_rng(0).random((40, 60)) < 0.2).astype(np.float32))
    every = dense_weights(ItemItemModel.fit(likes, replace(EASE, min_likes=1)))
    few = dense_weights(ItemItemModel.fit(likes, replace(EASE, min_likes=1, neighbours=7)))
    for row in range(60):
        kept = few[row][few[row] != 0]
        np.testing.assert_allclose(np.sort(np.abs(kept)), np.sort(np.abs(every[row]))[-7:], rtol=1e-5)


def test_the_sparse_model_lets_the_nearest_items_speak():
    dense = taste_matrix().astype(np.float64)
    model = ItemItemModel.fit(likes_of(dense), replace(SPARSE, local_items=6, min_likes=1))
    weights = dense_weights(model)
    lengths = np.linalg.norm(dense, axis=0)
    cosines = dense.T @ dense / (lengths[:, None] * lengths[None, :] + 10.0)
    np.fill_diagonal(cosines, 0)
    for item in np.flatnonzero(model.known):
        around = np.flatnonzero(weights[:, item])
        assert len(around) == 6
        others = np.setdiff1d(np.arange(N_ITEMS), around)
        assert cosines[around, item].min() >= cosines[others, item].max() - 1e-9
        own = dense[:, around]
        solved = np.linalg.solve(own.T @ own + 4.0 * np.eye(6), own.T @ dense[:, item])
        np.testing.assert_allclose(weights[around, item], solved, atol=1e-5)


def test_the_choice_follows_size_and_memory_and_is_said():
    likes = likes_of(taste_matrix())
    choices = {
        "ease": ItemItemModel.fit(likes, EASE),
        "size": ItemItemModel.fit(likes, replace(EASE, max_items=100)),
        "memory": ItemItemModel.fit(likes, replace(EASE, max_megabytes=0)),
    }
    count = int(choices["ease"].known.sum())
    assert choices["ease"].choice == f"EASE: {count} items need 1 MB of 2,048"
    assert choices["size"].choice == f"sparse, 50 weights an item: {count} items are over 100"
    assert choices["memory"].choice == f"sparse, 50 weights an item: for EASE {count} items need 1 MB of 0"
    for model in choices.values():
        assert model.choice in ItemItemSource(model).description
        assert ItemItemSource(model).n_items == count


def test_no_item_is_dropped_past_the_size_of_ease():
    model = ItemItemModel.fit(likes_of(taste_matrix()), replace(EASE, max_items=20))
    reached = np.count_nonzero(dense_weights(model), axis=0) > 0
    assert model.known.sum() > 100
    np.testing.assert_array_equal(reached, model.known)


def test_little_memory_for_co_occurrences_still_gives_a_sound_model():
    rng = np.random.default_rng(1)
    chance = np.where(np.arange(300) < 100, 0.5, 0.05)
    matrix = sp.csr_matrix((rng.random((400, 300)) < chance).astype(np.float32))
    parameters = replace(SPARSE, local_items=60, local_regularization=1.0)
    assert kept_co_occurrences(300, 0) == 64
    few, every = (
        sp.csr_matrix((weights, (rows, columns)), shape=(300, 300)).toarray()
        for rows, columns, weights in (fit_sparse(matrix, replace(parameters, max_megabytes=size)) for size in (0, 64))
    )
    # Ridge regression holds |w|^2 lambda <= |x_i|^2. What is guessed must not break that.
    assert ((few**2).sum(axis=0) <= np.asarray(matrix.sum(axis=0)).ravel()).all()
    assert np.corrcoef(few.ravel(), every.ravel())[0, 1] > 0.9


def test_a_few_allowed_rows_come_also_when_the_likes_say_nothing_of_them():
    dense = np.zeros((8, 6), np.float32)
    dense[:4, :3] = 1
    dense[4:, 3:] = 1
    model = ItemItemModel.fit(likes_of(dense), replace(SPARSE, regularization=1.0))
    proposal = ItemItemSource(model).propose(Profile(np.array([0]), np.ones(1, np.float32)), 6, Allowed.everything(9))
    assert proposal.rows.tolist() == [1, 2, 0, 3, 4, 5]
    assert (proposal.scores[2:] == 0).all()


@pytest.mark.parametrize("rows", [0, 2])
@pytest.mark.parametrize("parameters", [ItemItemParameters(), replace(SPARSE, min_likes=1)])
def test_fits_what_hardly_anybody_liked(rows, parameters):
    model = ItemItemModel.fit(likes_of(np.eye(3, 5, dtype=np.float32)[:rows]), parameters)
    assert model.known.sum() == (rows if parameters.min_likes == 1 else 0)
    assert len(model.weights.weights) == 0
