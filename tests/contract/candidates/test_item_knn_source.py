"""Item-based neighbours against dense cosines."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources import co_occurrence, sums
from services.candidates.sources.hyperparameters import ItemKnnParameters
from services.candidates.sources.item_knn import ItemKnnModel, ItemKnnSource
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract, taste_matrix

SHRINKAGE = 3.0


def likes_of(dense, seed=4):
    """Likes in a random order of time."""
    matrix = sp.csr_matrix(dense.astype(np.float32))
    users = np.repeat(np.arange(len(dense)), np.diff(matrix.indptr))
    order = np.lexsort((np.random.default_rng(seed).random(matrix.nnz), users))
    ids = tuple(f"user-{user:03}" for user in range(len(dense)))
    sequence = matrix.indices[order].astype(np.int64)
    return Likes(matrix, (dense > 0).sum(axis=0).astype(np.int64), ids, sequence, np.arange(matrix.nnz, dtype=float))


def dense_similarities(strengths, *, adjusted=False, shrinkage=SHRINKAGE):
    columns = strengths.astype(np.float64)
    together = (columns > 0).T.astype(int) @ (columns > 0).astype(int) > 0
    if adjusted:
        columns = columns - columns.sum(axis=1, keepdims=True) / (columns.sum(axis=0) > 0).sum()
    lengths = np.linalg.norm(columns, axis=0)
    similarities = columns.T @ columns / (lengths[:, None] * lengths[None, :] + shrinkage)
    np.fill_diagonal(similarities, 0)
    return np.where(together, np.maximum(similarities, 0), 0)


class TestItemKnn(CandidateSourceContract):
    similarity = "cosine"

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)

    def fit(self, likes):
        parameters = ItemKnnParameters(self.similarity, SHRINKAGE, N_ITEMS, N_ITEMS)
        return likes, ItemKnnModel.fit(likes_of(likes), parameters)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], ItemKnnModel.load(folder)

    def source(self, fitted):
        return ItemKnnSource(fitted[1])

    def oracle(self, fitted, liked):
        similarities = dense_similarities(fitted[0], adjusted=self.similarity == "adjusted_cosine")
        scores = similarities[liked].sum(axis=0)
        return np.where(scores > 0, scores, np.nan).astype(np.float32)


class TestAdjustedCosine(TestItemKnn):
    similarity = "adjusted_cosine"


class TestItemKnnOfALargeCatalogue(TestItemKnn):
    """The other of the two ways to add up, and a block for every few items."""

    @pytest.fixture(autouse=True)
    def _large(self, monkeypatch):
        monkeypatch.setattr(sums, "DENSE_ROWS", 0)
        monkeypatch.setattr(co_occurrence, "BLOCK_PRODUCTS", 200)


def with_strengths(seed=6):
    likes = taste_matrix()
    return likes * np.random.default_rng(seed).choice([0.2, 0.7, 1.0], likes.shape)


@pytest.mark.parametrize("similarity", ["cosine", "adjusted_cosine"])
def test_strengths_count_in_columns_and_in_profiles(similarity):
    strengths = with_strengths()
    model = ItemKnnModel.fit(likes_of(strengths), ItemKnnParameters(similarity, SHRINKAGE, N_ITEMS, N_ITEMS))
    liked, own = np.array([3, 40, 77]), np.array([0.2, 1.0, 0.5], np.float32)
    scores = ItemKnnSource(model).score(Profile(liked, own), np.arange(N_ITEMS))
    expected = own @ dense_similarities(strengths.astype(np.float32), adjusted=similarity != "cosine")[liked]
    np.testing.assert_allclose(np.nan_to_num(scores), expected, atol=1e-5)


def test_each_item_is_reached_from_its_nearest_neighbours_only():
    strengths = with_strengths()
    model = ItemKnnModel.fit(likes_of(strengths), ItemKnnParameters("cosine", SHRINKAGE, 7, N_ITEMS))
    weights = model.weights
    kept = sp.csr_matrix((weights.weights, weights.columns, weights.indptr), shape=(N_ITEMS, N_ITEMS)).toarray()
    similarities = dense_similarities(strengths.astype(np.float32))
    for item in range(N_ITEMS):
        expected = np.sort(similarities[:, item])[::-1][:7]
        np.testing.assert_allclose(np.sort(kept[:, item])[::-1][:7], expected, atol=1e-6)
        assert np.count_nonzero(kept[:, item]) == np.count_nonzero(expected)


def test_a_liked_item_speaks_for_a_bounded_number():
    wide = ItemKnnModel.fit(likes_of(taste_matrix()), ItemKnnParameters("cosine", 0.0, 20, N_ITEMS)).weights
    narrow = ItemKnnModel.fit(likes_of(taste_matrix()), ItemKnnParameters("cosine", 0.0, 20, 10)).weights
    assert np.diff(wide.indptr).max() > 10
    for item in range(N_ITEMS):
        every = np.sort(wide.weights[wide.indptr[item] : wide.indptr[item + 1]])[::-1]
        few = np.sort(narrow.weights[narrow.indptr[item] : narrow.indptr[item + 1]])[::-1]
        np.testing.assert_array_equal(few, every[:10])


def test_of_equal_neighbours_the_lower_rows_stay():
    # Item 5 is liked together with 0 to 4, each time by one user.
    likes = np.zeros((5, 6))
    likes[np.arange(5), np.arange(5)] = 1
    likes[:, 5] = 1
    model = ItemKnnModel.fit(likes_of(likes), ItemKnnParameters("cosine", 0.0, 2, 10))
    scores = ItemKnnSource(model).score(Profile(np.array([0]), np.ones(1, np.float32)), np.arange(6))
    reached = [row for row in range(5) if model.weights.indptr[row + 1] > model.weights.indptr[row]]
    assert reached == [0, 1]
    assert scores[5] == pytest.approx(1 / np.sqrt(5))


def test_a_power_user_counts_with_the_newest_likes():
    dense = np.vstack([taste_matrix(), np.ones((1, N_ITEMS), np.float32)])
    likes = likes_of(dense)
    kept = dense.copy()
    kept[-1] = 0
    kept[-1, likes.sequence[-30:]] = 1
    bounded = ItemKnnModel.fit(likes, ItemKnnParameters("cosine", SHRINKAGE, N_ITEMS, N_ITEMS, newest_likes=30)).weights
    np.testing.assert_allclose(
        sp.csr_matrix((bounded.weights, bounded.columns, bounded.indptr), shape=(N_ITEMS, N_ITEMS)).toarray(),
        dense_similarities(kept),
        atol=1e-6,
    )


def test_a_user_of_other_items_changes_nothing_for_me():
    half = taste_matrix()
    half[:, 100:] = 0
    stranger = np.zeros((1, N_ITEMS), np.float32)
    stranger[0, 110:140] = 1
    parameters = ItemKnnParameters("cosine", SHRINKAGE, 10, 50)
    mine = Profile(np.array([3, 14, 15, 92]), np.ones(4, np.float32))
    answers = [
        ItemKnnSource(ItemKnnModel.fit(likes_of(likes), parameters)).propose(mine, 30, Allowed.everything(N_ITEMS))
        for likes in (half, np.vstack([half, stranger]))
    ]
    assert answers[0].rows.tolist() == answers[1].rows.tolist()
    np.testing.assert_array_equal(answers[0].scores, answers[1].scores)


def test_no_neighbour_may_come():
    source = ItemKnnSource(ItemKnnModel.fit(likes_of(taste_matrix()), ItemKnnParameters()))
    nothing = source.propose(Profile(np.array([1]), np.ones(1, np.float32)), 5, Allowed(np.zeros(N_ITEMS, bool)))
    assert nothing.rows.tolist() == []
    assert "neighbour" in nothing.reason


@pytest.mark.parametrize("users", [0, 1])
def test_fits_what_hardly_anybody_liked(users):
    model = ItemKnnModel.fit(likes_of(np.eye(3, 5)[:users].reshape(users, 5)), ItemKnnParameters())
    assert ItemKnnSource(model).n_items == 0


def test_an_unknown_similarity_is_refused():
    with pytest.raises(ValueError, match=r"(?s)similarity.*'cosine' or 'adjusted_cosine'.*pearson"):
        ItemKnnParameters(similarity="pearson")
