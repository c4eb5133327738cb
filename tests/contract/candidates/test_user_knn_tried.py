"""What users only tried, in user-based neighbours: it counts less than a like, becomes one, or goes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.profile import Profile
from shared.testing.candidate_source import N_ITEMS, taste_matrix

from .neighbours import EVERYBODY, dense_scores, fitted, likes_of, opened, profile_of, source_of, user_id, with_a_try


@pytest.mark.parametrize("weight", [0.0, 0.25])
def test_what_was_tried_counts_on_both_sides(weight):
    dense = taste_matrix().astype(np.float64)
    likes = with_a_try(likes_of(dense), 7, N_ITEMS - 1)
    own = np.flatnonzero(dense[7])[:4]
    mine = Profile(own, np.ones(4, np.float32), tried=np.array([2]))
    parameters = replace(EVERYBODY, tried_weight=weight)
    source = source_of(fitted(likes, parameters))
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
    source = source_of(fitted(likes, EVERYBODY))
    source.like(user_id(7), item, 0.0)
    dense[7, item] = 1
    scores = source.score(profile_of([item, 5, 7]), np.arange(N_ITEMS))
    np.testing.assert_allclose(scores, dense_scores(dense, np.array([item, 5, 7]), EVERYBODY), atol=1e-5)


def test_a_dislike_of_what_was_tried_takes_it_out():
    dense, item = taste_matrix(), N_ITEMS - 1
    source = source_of(fitted(with_a_try(likes_of(dense), 7, item), EVERYBODY))
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
