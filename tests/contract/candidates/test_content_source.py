"""Nearest by text, against cosines of dense means."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources.content import ContentModel, ContentSource
from services.candidates.sources.hyperparameters import ContentParameters
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract

PARAMETERS = ContentParameters(last=30, half_life=4.0)


def unit_vectors(n_items, dim=16, seed=2):
    vectors = np.random.default_rng(seed).standard_normal((n_items, dim)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def indexed(vectors):
    index = FlatIndex(vectors.shape[1])
    rows = np.flatnonzero(~np.isnan(vectors[:, 0]))
    index.put(rows, vectors[rows])
    return index


class TestContent(CandidateSourceContract):
    def fit(self, likes):
        vectors = unit_vectors(likes.shape[1])
        vectors[::17] = np.nan
        return vectors, ContentModel(PARAMETERS)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], ContentModel.load(folder)

    def source(self, fitted):
        return ContentSource(fitted[1], indexed(fitted[0]))

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        vectors = fitted[0].astype(np.float64)
        total = np.zeros(vectors.shape[1])
        for age, row in enumerate(liked[::-1][:30]):
            if not np.isnan(vectors[row, 0]):
                total += 0.5 ** (age / 4.0) * vectors[row]
        if not total.any():
            return np.full(N_ITEMS, np.nan, np.float32)
        return (vectors @ total / np.linalg.norm(total)).astype(np.float32)


def test_stronger_and_newer_likes_pull_harder():
    vectors = np.eye(3, 16, dtype=np.float32)
    source = ContentSource(ContentModel(PARAMETERS), indexed(vectors))
    newer = source.score(Profile(np.array([0, 1]), np.ones(2, np.float32)), np.arange(3))
    assert newer[1] > newer[0] > newer[2] == 0
    stronger = source.score(Profile(np.array([0, 1]), np.array([5, 1], np.float32)), np.arange(3))
    assert stronger[0] > stronger[1]


def test_an_item_embedded_after_the_profile_was_made_counts():
    vectors = unit_vectors(5)
    index = indexed(vectors[:4])
    source = ContentSource(ContentModel(PARAMETERS), index)
    profile = Profile(np.array([4]), np.ones(1, np.float32))
    assert "no liked item" in source.propose(profile, 5, Allowed.everything(5)).reason
    index.put(np.array([4]), vectors[4:])
    assert source.propose(profile, 1, Allowed.everything(5)).rows.tolist() == [4]


def test_likes_that_cancel_out_say_nothing():
    vectors = np.zeros((3, 16), np.float32)
    vectors[[0, 1], 0] = 1, -1
    vectors[2, 1] = 1
    source = ContentSource(ContentModel(ContentParameters(half_life=1e9)), indexed(vectors))
    profile = Profile(np.array([0, 1]), np.ones(2, np.float32))
    assert len(source.propose(profile, 3, Allowed.everything(3)).rows) == 0
    assert np.isnan(source.score(profile, np.arange(3))).all()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "content.json").write_text(json.dumps({"speed": 3}))
    with pytest.raises(ValueError, match="speed"):
        ContentModel.load(tmp_path)
