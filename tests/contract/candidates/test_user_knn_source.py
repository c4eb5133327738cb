"""User-based neighbours against a dense computation, and what the log changes."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.index.allowed import Allowed
from services.candidates.ports import HearsDislikes, LiveSource
from services.candidates.profile import Profile
from services.candidates.sources import sums
from services.candidates.sources.hyperparameters import UserKnnParameters
from services.candidates.sources.own_vectors import filled
from services.candidates.sources.user_knn import UserKnnSource
from services.candidates.sources.user_knn_model import UserKnnModel
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import N_ITEMS, N_USERS, CandidateSourceContract, taste_matrix

EVERY = Allowed.everything(N_ITEMS)
PARAMETERS = UserKnnParameters(searched=40, neighbours=15, shrinkage=2.0, min_likes=3)
ALL = replace(PARAMETERS, searched=10 * N_USERS)
"""The index finds everybody: the answer is that of exact neighbours."""


class Directions:
    """Vectors of users: the sum of fixed directions of the liked items. Items from N_ITEMS on are unknown."""

    items = np.random.default_rng(8).standard_normal((N_ITEMS, 16)).astype(np.float32)

    def fold_in(self, profile):
        known = profile.liked < N_ITEMS
        return (profile.strengths[known] @ self.items[profile.liked[known]]).astype(np.float32)


def user_id(user):
    return f"user-{user:03}"


def likes_of(dense):
    matrix = sp.csr_matrix(dense.astype(np.float32))
    users = np.repeat(np.arange(len(dense)), np.diff(matrix.indptr))
    # The newest like of everybody is that of the lowest row.
    sequence = matrix.indices[np.lexsort((-matrix.indices, users))].astype(np.int64)
    ids = tuple(map(user_id, range(len(dense))))
    return Likes(matrix, (dense > 0).sum(axis=0).astype(np.int64), ids, sequence, np.arange(matrix.nnz, dtype=float))


def opened(dense, parameters=ALL):
    model = UserKnnModel.fit(likes_of(dense), Directions(), parameters)
    return UserKnnSource(model, Directions(), filled(FlatIndex, model.vectors), N_ITEMS)


def profile_of(liked, user=""):
    return Profile(np.asarray(liked, np.int64), np.ones(len(liked), np.float32), user_id=user)


def dense_scores(likes, liked, parameters):
    likes = likes.astype(np.float64)
    own = np.zeros(likes.shape[1])
    own[liked] = 1
    vectors = likes @ Directions.items
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    near = np.argsort(-(vectors @ (own @ Directions.items)), kind="stable")[: parameters.searched]
    near = np.sort(near[likes[near].sum(axis=1) >= parameters.min_likes])
    norms = np.linalg.norm(likes[near], axis=1) * np.linalg.norm(own)
    similarities = likes[near] @ own / (norms + parameters.shrinkage)
    order = np.argsort(-similarities.astype(np.float32), kind="stable")[: parameters.neighbours]
    weights = similarities[order] ** parameters.amplification
    scores = weights @ likes[near[order]] / max(weights.sum(), 1e-9)
    return np.where(scores > 0, scores, np.nan).astype(np.float32)


class TestUserKnn(CandidateSourceContract):
    parameters = PARAMETERS

    def profile(self, liked):
        return profile_of(liked)

    def allowed(self, mask):
        return Allowed(mask)

    def fit(self, likes):
        return likes, UserKnnModel.fit(likes_of(likes), Directions(), self.parameters)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], UserKnnModel.load(folder)

    def source(self, fitted):
        return UserKnnSource(fitted[1], Directions(), filled(FlatIndex, fitted[1].vectors), N_ITEMS)

    def oracle(self, fitted, liked):
        return dense_scores(fitted[0], liked, self.parameters)


class TestUserKnnOfALargeCatalogue(TestUserKnn):
    """The other of the two ways to add up."""

    @pytest.fixture(autouse=True)
    def _large(self, monkeypatch):
        monkeypatch.setattr(sums, "DENSE_ROWS", 0)


def test_strengths_count_on_both_sides():
    rng = np.random.default_rng(1)
    strengths = taste_matrix() * rng.choice([0.25, 0.5, 1.0], (N_USERS, N_ITEMS))
    own = np.zeros(N_ITEMS)
    own[[5, 30, 71]] = [1.0, 0.25, 0.5]
    similarities = strengths @ own / (np.linalg.norm(strengths, axis=1) * np.linalg.norm(own) + ALL.shrinkage)
    weights = np.where(similarities >= np.sort(similarities)[-ALL.neighbours], similarities, 0) ** ALL.amplification
    profile = Profile(np.array([5, 30, 71]), own[[5, 30, 71]].astype(np.float32))
    scores = opened(strengths).score(profile, np.arange(N_ITEMS))
    np.testing.assert_allclose(np.nan_to_num(scores), weights @ strengths / weights.sum(), atol=1e-5)


def test_users_are_not_their_own_neighbours():
    dense = taste_matrix()
    others = dense.copy()
    others[7] = 0
    liked = np.flatnonzero(dense[7])
    mine = opened(dense).score(profile_of(liked, user_id(7)), np.arange(N_ITEMS))
    np.testing.assert_allclose(mine, dense_scores(others, liked, ALL), atol=1e-5)


def test_similar_users_are_those_of_the_largest_cosines():
    dense = taste_matrix()
    ids, cosines = opened(dense).similar_users(profile_of(np.flatnonzero(dense[7]), user_id(7)), 10)
    norms = np.linalg.norm(dense, axis=1)
    expected = dense @ dense[7] / (norms * norms[7])
    expected[7] = -1
    assert ids == [user_id(user) for user in np.argsort(-expected.astype(np.float32), kind="stable")[:10]]
    np.testing.assert_allclose(cosines, np.sort(expected)[::-1][:10], atol=1e-6)


def test_only_users_with_a_common_like_are_similar():
    dense = np.eye(6, N_ITEMS, dtype=np.float32)
    source = opened(dense, replace(ALL, min_likes=1))
    assert source.similar_users(profile_of([2]), 10)[0] == [user_id(2)]
    assert source.similar_users(profile_of([N_ITEMS - 1]), 10)[0] == []
    assert source.similar_users(profile_of([]), 10)[0] == []
    assert "no other user" in source.propose(profile_of([N_ITEMS - 1]), 10, EVERY).reason


def test_a_source_that_followed_the_log_answers_as_one_trained_on_it():
    before, after = taste_matrix(), taste_matrix(seed=3)
    rng = np.random.default_rng(2)
    source = opened(before)
    for user, item in rng.permutation(np.argwhere(taste_matrix(seed=9)[:30])).tolist():
        if not after[user, item]:
            source.like(user_id(user), item, 0.0)
            after[user, item] = 1
    for user, item in rng.permutation(np.argwhere(before))[:200].tolist():
        source.take_back(user_id(user), item, 0.0)
        after[user, item] = 0
    for liked in ([1, 2, 3], [10, 50, 90, 120]):
        scores = source.score(profile_of(liked), np.arange(N_ITEMS))
        np.testing.assert_allclose(scores, dense_scores(after, np.array(liked), ALL), atol=1e-5)


def test_vectors_follow_the_log():
    # Only one user is compared: the one whose vector is nearest.
    source = opened(taste_matrix(), replace(ALL, searched=1))
    for item in (140, 141, 142, 143):
        source.like("newcomer", item, 0.0)
    assert source.similar_users(profile_of([140, 141, 142, 143]), 1)[0] == ["newcomer"]
    for item in (140, 141, 142, 143):
        source.take_back("newcomer", item, 0.0)
    assert source.similar_users(profile_of([140, 141, 142, 143]), 1)[0] == []


def test_new_users_are_neighbours_once_they_have_enough_likes():
    source = opened(taste_matrix())
    mine = profile_of([140, 141, 142])
    for item in (140, 141):
        source.like("newcomer", item, 0.0)
    assert source.similar_users(mine, 5)[0] == []
    source.like("newcomer", N_ITEMS + 3, 0.0)
    assert source.similar_users(mine, 5)[0] == ["newcomer"]
    grown = Allowed.everything(N_ITEMS + 10)
    assert source.propose(mine, 5, grown).rows.tolist() == [140, 141, N_ITEMS + 3]


def test_an_answer_that_was_given_does_not_outlive_the_likes():
    source = opened(taste_matrix())
    mine = profile_of([1, 2, 3])
    before = source.score(mine, np.arange(N_ITEMS))
    for item in (1, 2, 3, 145):
        source.like("newcomer", item, 0.0)
    after = source.score(mine, np.arange(N_ITEMS))
    assert np.isnan(before[145])
    assert after[145] > 0


def test_the_same_like_counts_once():
    source = opened(taste_matrix())
    for item in (1, 1, 1, 2, 2):
        source.like("newcomer", item, 0.0)
    assert "newcomer" not in source.similar_users(profile_of([1, 2]), 100)[0]


EVERYBODY = replace(ALL, neighbours=N_USERS, min_likes=1)
"""All users with a common like are neighbours: no ties to decide."""


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_what_was_tried_counts_on_both_sides(weight):
    dense = taste_matrix().astype(np.float64)
    tried = sp.csr_matrix((np.ones(1, np.float32), ([7], [N_ITEMS - 1])), shape=dense.shape)
    likes = replace(likes_of(dense), tried=tried, tried_sequence=np.array([N_ITEMS - 1]), tried_times=np.zeros(1))
    own = np.flatnonzero(dense[7])[:4]
    mine = Profile(own, np.ones(4, np.float32), tried=np.array([2]))
    parameters = replace(EVERYBODY, tried_weight=weight)
    model = UserKnnModel.fit(likes, Directions(), parameters)
    source = UserKnnSource(model, Directions(), filled(FlatIndex, model.vectors), N_ITEMS)
    dense[7, N_ITEMS - 1] = weight
    asked = np.zeros(N_ITEMS)
    asked[2], asked[own] = weight, 1.0
    similarities = dense @ asked / (np.linalg.norm(dense, axis=1) * np.linalg.norm(asked) + parameters.shrinkage)
    weights = similarities**parameters.amplification
    expected = weights @ dense / weights.sum()
    np.testing.assert_allclose(np.nan_to_num(source.score(mine, np.arange(N_ITEMS))), expected, atol=1e-5)
    assert (expected[N_ITEMS - 1] > 0) == (weight > 0)


def test_a_like_of_what_was_tried_makes_it_a_like():
    dense = taste_matrix()
    dense[7] *= np.float32(EVERYBODY.tried_weight)
    item = int(np.flatnonzero(dense[7])[0])
    likes = replace(likes_of(dense), tried=sp.csr_matrix(dense.shape, dtype=np.float32))
    model = UserKnnModel.fit(likes, Directions(), EVERYBODY)
    source = UserKnnSource(model, Directions(), filled(FlatIndex, model.vectors), N_ITEMS)
    source.like(user_id(7), item, 0.0)
    dense[7, item] = 1
    scores = source.score(profile_of([item, 5, 7]), np.arange(N_ITEMS))
    np.testing.assert_allclose(scores, dense_scores(dense, np.array([item, 5, 7]), EVERYBODY), atol=1e-5)


def test_a_dislike_of_what_was_tried_takes_it_out():
    dense, item = taste_matrix(), N_ITEMS - 1
    tried = sp.csr_matrix((np.ones(1, np.float32), ([7], [item])), shape=dense.shape)
    likes = replace(likes_of(dense), tried=tried, tried_sequence=np.array([item]), tried_times=np.zeros(1))
    model = UserKnnModel.fit(likes, Directions(), EVERYBODY)
    source = UserKnnSource(model, Directions(), filled(FlatIndex, model.vectors), N_ITEMS)
    mine = profile_of(np.flatnonzero(dense[7])[:4])
    assert source.score(mine, np.array([item]))[0] > 0
    for name in (user_id(7), user_id(7), "nobody"):
        source.dislike(name, item)
    scores = source.score(mine, np.arange(N_ITEMS))
    np.testing.assert_allclose(scores, dense_scores(dense, mine.liked, EVERYBODY), atol=1e-5)


def test_nothing_that_was_tried_counts_where_training_knew_of_none():
    mine = profile_of([1, 2, 3])
    tried = replace(mine, tried=np.array([5, 9]), _kept={}, _kept_of_liked={})
    source = opened(taste_matrix())
    np.testing.assert_array_equal(source.score(tried, np.arange(N_ITEMS)), source.score(mine, np.arange(N_ITEMS)))


def test_a_stranger_changes_nothing_for_me():
    source = opened(taste_matrix(), replace(PARAMETERS, searched=N_USERS))
    mine = profile_of([1, 2, 3, 77])
    before = source.propose(mine, 30, EVERY)
    for item in range(140, 150):
        source.like("stranger", item, 0.0)
    after = source.propose(profile_of([1, 2, 3, 77]), 30, EVERY)
    assert before.rows.tolist() == after.rows.tolist()
    np.testing.assert_array_equal(before.scores, after.scores)


@pytest.mark.parametrize("stored", [False, True])
def test_forgotten_users_are_gone(tmp_path, stored):
    dense = taste_matrix()
    model = UserKnnModel.fit(likes_of(dense), Directions(), ALL)
    if stored:
        model.save(tmp_path)
        model = UserKnnModel.load(tmp_path)
    source = UserKnnSource(model, Directions(), filled(FlatIndex, model.vectors), N_ITEMS)
    for item in (1, 2, 3, 140):
        source.like("newcomer", item, 0.0)
    mine = profile_of(np.flatnonzero(dense[7])[:6])
    assert {user_id(7), "newcomer"} < set(source.similar_users(profile_of([1, 2, 3, *mine.liked]), 100)[0])
    source.like(user_id(7), 141, 0.0)
    source.forget(user_id(7))
    source.forget("newcomer")
    source.forget("nobody")
    rest = dense.copy()
    rest[7] = 0
    assert {user_id(7), "newcomer"}.isdisjoint(source.similar_users(profile_of([1, 2, 3, *mine.liked]), 100)[0])
    np.testing.assert_allclose(
        source.score(profile_of(mine.liked), np.arange(N_ITEMS)), dense_scores(rest, mine.liked, ALL), atol=1e-5
    )
    assert model.ids.row_of(user_id(7)) is None
    assert user_id(7).encode() not in model.ids._bytes.tobytes()
    assert user_id(8).encode() in model.ids._bytes.tobytes()
    # Whoever comes back under the id is a new user.
    source.like(user_id(7), 1, 0.0)
    assert user_id(7) not in source.similar_users(mine, 100)[0]


def test_reset_forgets_everybody():
    source = opened(taste_matrix())
    for item in (1, 2, 3):
        source.like("newcomer", item, 0.0)
    source.reset()
    assert source.similar_users(profile_of([1, 2, 3]), 100)[0] == []
    for item in (1, 2, 3):
        source.like(user_id(4), item, 0.0)
    assert source.similar_users(profile_of([1, 2, 3]), 100)[0] == [user_id(4)]


def test_what_is_kept_of_the_log_is_bounded():
    dense = taste_matrix()
    source = opened(dense, replace(ALL, max_live_users=2))
    trained = source.score(profile_of([1, 2]), np.arange(N_ITEMS))
    source.like(user_id(0), 149, 0.0)
    for name in ("a", "b"):
        for item in (140, 141, 142):
            source.like(name, item, 0.0)
    assert source.similar_users(profile_of([140, 141, 142]), 5)[0] == ["a", "b"]
    # The user of the training is what the training knew again.
    np.testing.assert_array_equal(source.score(profile_of([1, 2]), np.arange(N_ITEMS)), trained)
    assert source.similar_users(profile_of([149]), 5)[0] == []
    for name in "cdefghij":
        for item in (140, 141, 142):
            source.like(name, item, 0.0)
    assert sorted(source.similar_users(profile_of([140, 141, 142]), 5)[0]) == ["i", "j"]


def test_of_a_neighbour_the_newest_likes_are_kept():
    dense = np.zeros((1, N_ITEMS), np.float32)
    dense[0, :60] = 1
    source = opened(dense, replace(ALL, newest_likes=5))
    # `likes_of` gives the lowest rows last.
    assert sorted(source.propose(profile_of([0, 50]), 100, EVERY).rows.tolist()) == [0, 1, 2, 3, 4]
    source.like(user_id(0), 100, 0.0)
    assert sorted(source.propose(profile_of([0, 50]), 100, EVERY).rows.tolist()) == [0, 1, 2, 3, 100]


def test_it_learns_from_the_log():
    source = opened(taste_matrix())
    assert isinstance(source, LiveSource)
    assert isinstance(source, HearsDislikes)


def test_without_users():
    source = opened(np.zeros((0, N_ITEMS), np.float32))
    assert source.n_items == 0
    assert source.propose(profile_of([1, 2]), 5, EVERY).rows.tolist() == []
    for item in (1, 2, 3):
        source.like("first", item, 0.0)
    assert sorted(source.propose(profile_of([1, 2]), 5, EVERY).rows.tolist()) == [1, 2, 3]


def test_readers_are_not_disturbed_by_the_writer():
    source = opened(taste_matrix(), replace(PARAMETERS, max_live_users=20))
    errors = []
    done = threading.Event()

    def read():
        rng = np.random.default_rng(3)
        while not done.is_set():
            liked = rng.choice(N_ITEMS, 8, replace=False)
            try:
                source.propose(profile_of(liked, user_id(3)), 20, EVERY)
                source.similar_users(profile_of(liked), 20)
            except Exception as error:  # noqa: BLE001 (whatever it is, the test fails with it)
                errors.append(error)
                return

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    rng = np.random.default_rng(4)
    for step in range(600):
        name = f"live-{rng.integers(40)}" if step % 2 else user_id(rng.integers(N_USERS))
        source.like(name, int(rng.integers(N_ITEMS + 5)), 0.0)
        if step % 20 == 0:
            source.forget(name)
    done.set()
    for reader in readers:
        reader.join()
    assert errors == []
