"""User-based neighbours against a dense computation, and what the log changes."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from services.candidates.index.allowed import Allowed
from services.candidates.ports import HearsDislikes, LiveSource
from services.candidates.profile import Profile
from services.candidates.sources import sums
from services.candidates.sources.user_knn_model import UserKnnModel
from shared.testing.candidate_source import N_ITEMS, N_USERS, CandidateSourceContract, taste_matrix

from .neighbours import ALL, EVERY, PARAMETERS, dense_scores, fitted, likes_of, opened, profile_of, source_of, user_id


class TestUserKnn(CandidateSourceContract):
    parameters = PARAMETERS

    def profile(self, liked):
        return profile_of(liked)

    def allowed(self, mask):
        return Allowed(mask)

    def fit(self, likes):
        return likes, fitted(likes_of(likes), self.parameters)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], UserKnnModel.load(folder)

    def source(self, fitted):
        return source_of(fitted[1])

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
    model = fitted(likes_of(dense))
    if stored:
        model.save(tmp_path)
        model = UserKnnModel.load(tmp_path)
    source = source_of(model)
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
