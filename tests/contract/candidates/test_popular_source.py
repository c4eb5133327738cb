"""The number of likes, against counting."""

from __future__ import annotations

import numpy as np
import pytest

from services.candidates.index.allowed import Allowed
from services.candidates.ports import LiveSource
from services.candidates.profile import Profile
from services.candidates.sources.popular import PopularSource
from shared.testing.candidate_source import CandidateSourceContract

NOBODY = Profile(np.zeros(0, np.int64), np.zeros(0, np.float32))


class TestPopular(CandidateSourceContract):
    personal = False

    def fit(self, likes):
        counts = likes.sum(axis=0).astype(np.int64)
        return counts, PopularSource(counts)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], PopularSource.load(folder)

    def source(self, fitted):
        return fitted[1]

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        del liked
        return np.log(1.0 + fitted[0]).astype(np.float32)


def proposed(source, n, size):
    return source.propose(NOBODY, n, Allowed.everything(size)).rows.tolist()


def test_equal_counts_come_in_row_order():
    assert proposed(PopularSource(np.array([2, 5, 2, 5, 9])), 4, 5) == [4, 1, 3, 0]


def test_a_like_and_its_taking_back_count_at_once():
    source = PopularSource(np.array([3, 4]))
    assert isinstance(source, LiveSource)
    assert proposed(source, 2, 2) == [1, 0]
    source.like("u", 0, 5.0)
    source.like("v", 0, 6.0)
    assert proposed(source, 2, 2) == [0, 1]
    source.take_back("v", 0, 6.0)
    source.take_back("u", 0, 5.0)
    assert proposed(source, 2, 2) == [1, 0]


def test_counts_do_not_fall_below_zero():
    source = PopularSource(np.array([0, 1]))
    source.take_back("u", 0, 1.0)
    assert source.score(NOBODY, np.array([0])) == 0


def test_a_new_item_is_proposed_once_it_has_room_and_likes():
    source = PopularSource(np.array([1, 1]))
    assert proposed(source, 3, 3) == [0, 1]
    source.grow(3)
    assert proposed(source, 3, 3) == [0, 1, 2]
    source.like("u", 2, 1.0)
    source.like("v", 2, 1.0)
    assert proposed(source, 3, 3) == [2, 0, 1]
    assert source.n_items == 3


def test_reset_forgets_all_counts_and_keeps_the_rows():
    source = PopularSource(np.array([1, 7, 3]))
    proposed(source, 3, 3)
    source.reset()
    assert proposed(source, 3, 3) == [0, 1, 2]
    assert source.score(NOBODY, np.arange(3)).tolist() == [0, 0, 0]


def test_a_folder_without_counts_is_refused(tmp_path):
    with pytest.raises(OSError, match=r"likes\.npy"):
        PopularSource.load(tmp_path)
