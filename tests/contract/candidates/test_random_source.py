"""Random items: a permutation against the same one computed number by number, and its statistics."""

from __future__ import annotations

import hashlib

import numpy as np

from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources.random_ import RandomModel, RandomSource
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract

DAY = 86_400.0
MULTIPLIERS = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F, 0x165667B1, 0xD6E8FEB9)
NOTHING = np.zeros(0, np.int64)


def user(name, asked_at=0.0):
    return Profile(NOTHING, np.zeros(0, np.float32), user_id=name, asked_at=asked_at)


def source(n_items, seed=7):
    return RandomSource(RandomModel(seed, DAY), lambda: n_items)


class TestRandom(CandidateSourceContract):
    personal = False

    def fit(self, likes):
        return likes.shape[1], RandomModel(7, DAY)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], RandomModel.load(folder)

    def source(self, fitted):
        return RandomSource(fitted[1], lambda: fitted[0])

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        """A Feistel network of six rounds over numbers of eight bits, as the text books draw it."""
        digest = hashlib.blake2b(b"7 0 " + liked.tobytes(), digest_size=48).digest()
        keys = [int.from_bytes(digest[place : place + 8], "little") for place in range(0, 48, 8)]
        scores = []
        for row in range(fitted[0]):
            left, right = divmod(row, 16)
            for step in range(6):
                mixed = (right ^ keys[step]) * MULTIPLIERS[step] % 2**64
                mixed ^= mixed >> 29
                mixed = mixed * MULTIPLIERS[step - 1] % 2**64
                left, right = right, left ^ ((mixed >> 32) % 16)
            scores.append(1 - (16 * left + right) / 256)
        assert len(set(scores)) == N_ITEMS
        return np.array(scores, np.float32)


def test_every_allowed_item_comes_once_and_only_those():
    rng = np.random.default_rng(0)
    for size in (1, 2, 17, 255, 256, 257, 5_000):
        for share in (1.0, 0.5, 0.02):
            mask = rng.random(size) < share
            proposal = source(size).propose(user("u"), size, Allowed(mask))
            assert sorted(proposal.rows.tolist()) == np.flatnonzero(mask).tolist()


def test_drawing_and_asking_each_item_give_the_same_list():
    items = source(5_000)
    every = items.propose(user("u"), 5_000, Allowed.everything(5_000))
    few = items.propose(user("u"), 20, Allowed.everything(5_000))
    assert few.rows.tolist() == every.rows[:20].tolist()
    mask = np.zeros(5_000, bool)
    mask[every.rows[100:3_000:7]] = True
    assert items.propose(user("u"), 20, Allowed(mask)).rows.tolist() == every.rows[100:3_000:7][:20].tolist()


def test_items_are_equally_likely():
    """20 of 400 items for each of 2,000 users: every item 100 times, give or take four standard errors."""
    items = source(400)
    allowed = Allowed.everything(400)
    rows = np.concatenate([items.propose(user(f"u{number}"), 20, allowed).rows for number in range(2_000)])
    times = np.bincount(rows, minlength=400)
    assert times.sum() == 40_000
    assert np.abs(times - 100).max() < 4.5 * np.sqrt(100 * 0.95)
    # And as spread as chance has it: the variance of the counts is that of draws without replacement.
    assert 0.8 < times.var() / (100 * 0.95) < 1.2


def test_items_come_together_no_more_often_than_by_chance():
    items = source(100)
    allowed = Allowed.everything(100)
    lists = np.stack([items.propose(user(f"u{number}"), 10, allowed).rows for number in range(3_000)])
    chosen = np.zeros((3_000, 100))
    np.put_along_axis(chosen, lists, 1, axis=1)
    together = (chosen.T @ chosen)[np.triu_indices(100, 1)]
    expected = 3_000 * 10 * 9 / (100 * 99)
    assert abs(together.mean() - expected) < 1e-9
    assert 0.85 < together.var() / expected < 1.15


def test_the_list_lasts_for_the_period_and_depends_on_user_and_seed():
    allowed = Allowed.everything(5_000)

    def rows(name="u", asked_at=1e9 * 1.0, seed=7):
        return source(5_000, seed).propose(user(name, asked_at), 50, allowed).rows.tolist()

    noon = 20_000 * DAY + DAY / 2
    assert rows(asked_at=noon) == rows(asked_at=noon + 3_600)
    others = [rows(asked_at=noon + DAY), rows("v", noon), rows(seed=8, asked_at=noon)]
    for other in others:
        assert len(set(other) & set(rows(asked_at=noon))) < 8


def test_a_session_without_a_user_is_known_by_its_likes():
    allowed = Allowed.everything(5_000)
    lists = [
        source(5_000).propose(Profile(np.array(liked), np.ones(2, np.float32)), 30, allowed).rows.tolist()
        for liked in ([1, 2], [1, 2], [2, 1])
    ]
    assert lists[0] == lists[1]
    assert lists[0] != lists[2]


def test_items_that_came_after_the_training_are_drawn_too():
    size = 300
    items = RandomSource(RandomModel(1, DAY), lambda: size)
    size = 340
    assert set(items.propose(user("u"), 340, Allowed.everything(340)).rows.tolist()) == set(range(340))


def test_proposes_only_when_asked_for_by_name():
    assert not source(10).proposes
