"""User-based neighbours over an index that was built: they are those over a flat one, whatever the log brings."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import Profile
from services.candidates.sources.als import AlsModel
from services.candidates.sources.hyperparameters import AlsParameters, UserKnnParameters
from services.candidates.sources.own_vectors import filled, present_rows, to_build
from services.candidates.sources.user_knn import UserKnnSource
from services.candidates.sources.user_knn_model import UserKnnModel
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import N_ITEMS, N_USERS, CandidateSourceContract, taste_matrix

SEARCHED, LIVE = 10, 30
PARAMETERS = UserKnnParameters(searched=SEARCHED, neighbours=8, shrinkage=2.0, min_likes=3, max_live_users=LIVE)
KINDS = ("ivf", "hnsw")
FACTORS = AlsModel.fit(sp.csr_matrix(taste_matrix()), AlsParameters(factors=16, regularization=0.1), 1, 1)
EVERY = Allowed.everything(N_ITEMS)


def indexes(kind):
    """Every cluster is looked into: what is found is exact, and nothing is scored one by one."""
    return FaissIndexes(
        IndexParameters(type=kind, exact_rows=0, nprobe=N_USERS, threads=1, rebuild_rows=5, rebuild_share=0)
    )


def fitted(dense):
    matrix = sp.csr_matrix(dense.astype(np.float32))
    ids = tuple(f"user-{user}" for user in range(len(dense)))
    sequence = matrix.indices.astype(np.int64)
    likes = Likes(matrix, np.bincount(sequence, minlength=N_ITEMS), ids, sequence, np.arange(matrix.nnz, dtype=float))
    return UserKnnModel.fit(likes, FACTORS, PARAMETERS)


def over(index, model):
    return UserKnnSource(model, FACTORS, index, N_ITEMS)


def profile_of(liked):
    return Profile(np.asarray(liked, np.int64), np.ones(len(liked), np.float32))


class TestUserKnnOverABuiltIndex(CandidateSourceContract):
    kind = "ivf"

    def profile(self, liked):
        return profile_of(liked)

    def allowed(self, mask):
        return Allowed(mask)

    def fit(self, likes):
        model = fitted(likes)
        return model, indexes(self.kind).build(to_build(model.vectors))

    def stored(self, fitted, folder):
        model, index = fitted
        model.save(folder / "model")
        indexes(self.kind).save(index, folder / "index", "e1")
        return UserKnnModel.load(folder / "model"), indexes(self.kind).open(folder / "index", "e1")

    def source(self, fitted):
        model, index = fitted
        assert index.type == self.kind
        return over(index, model)

    def oracle(self, fitted, liked):
        model, _ = fitted
        return over(filled(FlatIndex, model.vectors), model).score(profile_of(liked), np.arange(N_ITEMS))


class TestUserKnnOverABuiltGraph(TestUserKnnOverABuiltIndex):
    kind = "hnsw"


class Pair:
    """Two sources over the same users, one of them over a flat index, the other over one that was built and opened."""

    def __init__(self, kind, folder, dense):
        models = [fitted(dense) for _ in range(2)]
        indexes(kind).save(indexes(kind).build(to_build(models[1].vectors)), folder / "index", "e1")
        self.index = indexes(kind).open(folder / "index", "e1")
        self.flat = filled(FlatIndex, models[0].vectors)
        self.sources = over(self.flat, models[0]), over(self.index, models[1])
        self.dense = dense

    def like(self, name, items):
        for source in self.sources:
            for item in items:
                source.like(name, item, 0.0)

    def each(self, change):
        for source in self.sources:
            change(source)

    def similar(self, liked):
        """Returns the ids that both sources find."""
        one, two = (source.similar_users(profile_of(liked), SEARCHED) for source in self.sources)
        assert one[0] == two[0]
        np.testing.assert_allclose(one[1], two[1], atol=1e-6)
        return two[0]

    def check(self):
        """Both find and score the same; returns every id found."""
        assert self.index.count == self.flat.count
        found = set()
        for user in range(0, N_USERS, 7):
            liked = np.flatnonzero(self.dense[user])
            found.update(self.similar(liked))
            one, two = (source.propose(profile_of(liked), 20, EVERY) for source in self.sources)
            assert one.rows.tolist() == two.rows.tolist()
            np.testing.assert_allclose(one.scores, two.scores, atol=1e-6)
        return found


@pytest.fixture(params=KINDS)
def pair(request, tmp_path):
    dense = taste_matrix()
    dense[[3, 40], 2:] = 0
    return Pair(request.param, tmp_path, dense)


def test_users_with_too_few_likes_are_not_in_the_index(pair):
    assert pair.index.count == N_USERS - 2
    assert not {"user-3", "user-40"} & pair.check()


def test_the_log_changes_both_alike_and_a_rebuild_neither(pair):
    rng = np.random.default_rng(6)
    pair.check()
    for step in range(3):
        for number in range(10):
            own = np.flatnonzero(pair.dense[rng.integers(N_USERS)])
            # Some come back, some are new, and more are new than are kept.
            pair.like(f"new-{step}-{number}", own[:6].tolist())
            pair.like(f"user-{rng.integers(N_USERS)}", rng.integers(0, N_ITEMS, 3).tolist())
            user, item = f"user-{rng.integers(N_USERS)}", int(rng.integers(N_ITEMS))
            pair.each(lambda source, user=user, item=item: source.take_back(user, item, 0.0))
        forgotten = [f"user-{20 + step}", f"new-{step}-9"]
        for name in forgotten:
            pair.each(lambda source, name=name: source.forget(name))
        found = pair.check()
        assert any(name.startswith("new-") for name in found)
        assert not found & set(forgotten)
        assert pair.index.needs_rebuild()
        pair.index.rebuild()
        assert (pair.index.rebuilds, pair.index.pending) == (step + 1, 0)
        assert pair.check() == found


def test_a_user_from_after_the_build_is_found_also_in_the_last_row(pair):
    for number in range(LIVE):
        pair.like(f"new-{number}", [100, 101, 102, 103 + number % 10])
    liked = [120, 121, 122, 123]
    # One more than are kept: the first one goes, its row is free after this one has the next.
    pair.like("last", liked)
    for _ in range(2):
        assert pair.similar(liked)[0] == "last"
        assert {name.split("-")[0] for name in pair.similar([100, 101, 102])} == {"new"}
        assert pair.index.count_from(N_USERS) == LIVE
        pair.index.rebuild()
    pair.each(lambda source: source.forget("last"))
    assert "last" not in pair.similar(liked)


def test_the_log_replaced_leaves_nobody_and_takes_who_comes(pair):
    pair.like("new", [1, 2, 3])
    pair.each(lambda source: source.reset())
    assert pair.index.count == 0
    assert pair.similar([1, 2, 3]) == []
    pair.index.rebuild()
    pair.like("later", [1, 2, 3])
    assert pair.similar([1, 2, 3]) == ["later"]


@pytest.mark.parametrize("kind", KINDS)
def test_without_users_there_is_an_index_that_takes_who_comes(kind, tmp_path):
    pair = Pair(kind, tmp_path, np.zeros((2, N_ITEMS), np.float32))
    pair.like("first", [1, 2, 3])
    assert pair.similar([1, 2]) == ["first"]


def test_rows_of_zeros_and_of_nothing_have_no_vector():
    vectors = np.array([[0, 0], [1, 0], [np.nan, np.nan], [0, 2]], np.float32)
    assert present_rows(vectors).tolist() == [1, 3]
    built = to_build(vectors)
    assert np.isnan(built[[0, 2]]).all()
    np.testing.assert_array_equal(built[[1, 3]], vectors[[1, 3]])
    assert built.dtype == np.float32
    index = filled(FlatIndex, vectors)
    assert (index.dim, index.count) == (2, 2)
