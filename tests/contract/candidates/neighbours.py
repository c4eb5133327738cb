"""Users and their neighbours, computed the slow way: what the tests of `user_knn` share."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources.hyperparameters import UserKnnParameters
from services.candidates.sources.own_vectors import filled
from services.candidates.sources.user_knn import UserKnnSource
from services.candidates.sources.user_knn_model import UserKnnModel
from services.candidates.training.likes import Likes
from shared.testing.candidate_source import N_ITEMS, N_USERS

EVERY = Allowed.everything(N_ITEMS)
PARAMETERS = UserKnnParameters(searched=40, neighbours=15, shrinkage=2.0, min_likes=3)
ALL = replace(PARAMETERS, searched=10 * N_USERS)
"""The index finds everybody: the answer is that of exact neighbours."""
EVERYBODY = replace(ALL, neighbours=N_USERS, min_likes=1)
"""All users with a common like are neighbours: no ties to decide."""


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


def with_a_try(likes, user, item):
    tried = sp.csr_matrix((np.ones(1, np.float32), ([user], [item])), shape=likes.matrix.shape)
    return replace(likes, tried=tried, tried_sequence=np.array([item]), tried_times=np.zeros(1))


def source_of(model):
    return UserKnnSource(model, Directions(), filled(FlatIndex, model.vectors), N_ITEMS)


def fitted(likes, parameters=ALL):
    return UserKnnModel.fit(likes, Directions(), parameters)


def opened(dense, parameters=ALL):
    return source_of(fitted(likes_of(dense), parameters))


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
