"""Every source against a brute-force oracle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.index.allowed import Allowed
from services.candidates.profile import Profile
from services.candidates.sources.aligned_text import AlignedTextSource, ItemTexts, TextMap
from services.candidates.sources.als import AlsModel, AlsSource
from services.candidates.sources.hyperparameters import AlsParameters, TextParameters
from shared.data.nouns import Item
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract

ALS = AlsParameters(factors=8, regularization=0.5, iterations=8)


def indexed(vectors):
    index = FlatIndex(vectors.shape[1])
    rows = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    index.put(rows, vectors[rows])
    return index


class SourceContract(CandidateSourceContract):
    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def allowed(self, mask):
        return Allowed(mask)


class TestAls(SourceContract):
    def fit(self, likes):
        return AlsModel.fit(sp.csr_matrix(likes), ALS, seed=1, threads=2)

    def stored(self, fitted, folder):
        fitted.save(folder)
        return AlsModel.load(folder)

    def source(self, fitted):
        return AlsSource(fitted, indexed(np.where(fitted.known[:, None], fitted.factors, 9.0).astype(np.float32)))

    def oracle(self, fitted, liked):
        scores = (fitted.factors.astype(np.float64) @ dense_fold_in(fitted, liked)).astype(np.float32)
        return np.where(fitted.known, scores, np.float32(np.nan))


class TestText(SourceContract):
    def fit(self, likes):
        als = AlsModel.fit(sp.csr_matrix(likes), ALS, seed=1, threads=2)
        rng = np.random.default_rng(2)
        vectors = rng.standard_normal((N_ITEMS, 16)).astype(np.float16).astype(np.float32)
        texts = ItemTexts(vectors, np.roll(vectors, 1, axis=1))
        items = [
            Item(str(row), "title", categories=(f"c{row % 4}",), attributes={"year": 1990.0 + row % 20})
            for row in range(N_ITEMS)
        ]
        counts = likes.sum(axis=0).astype(np.int64)
        return als, TextMap.fit(items, texts, als.factors, counts, TextParameters()), items, texts

    def stored(self, fitted, folder):
        als, text_map, items, texts = fitted
        als.save(folder / "als")
        text_map.save(folder / "text")
        loaded = TextMap.load(folder / "text")
        return AlsModel.load(folder / "als"), loaded, items, texts

    def source(self, fitted):
        als, text_map, items, texts = fitted
        return AlignedTextSource(als, indexed(text_map.map(items, texts)))

    def oracle(self, fitted, liked):
        als, text_map, items, texts = fitted
        mapped = np.stack(
            [
                text_map.map([item], ItemTexts(texts.full[[row]], texts.title[[row]]))[0]
                for row, item in enumerate(items)
            ]
        )
        return (mapped.astype(np.float64) @ dense_fold_in(als, liked)).astype(np.float32)

    def test_items_that_nobody_liked_have_a_score(self):
        fitted = self.fit(np.eye(N_ITEMS, dtype=np.float32)[:80] + np.eye(N_ITEMS, k=1, dtype=np.float32)[:80])
        liked = np.array([3, 4])
        scores = self.source(fitted).score(self.profile(liked), np.arange(N_ITEMS - 5, N_ITEMS))
        assert not np.isnan(scores).any()


def dense_fold_in(model, liked):
    """Weighted least squares over all items, as Hu, Koren and Volinsky write it: C diagonal, p the likes."""
    factors = model.factors.astype(np.float64)
    liked = liked[model.known[liked]]
    confidence = np.ones(len(factors))
    total = len(liked)
    norm = model.bm25.k1 * (1 - model.bm25.b + model.bm25.b * total / model.bm25.mean_likes)
    confidence[liked] = model.alpha * (model.bm25.k1 + 1) / (norm + 1) * model.bm25.idf[liked]
    preference = np.zeros(len(factors))
    preference[liked] = 1
    left = factors.T @ (confidence[:, None] * factors) + model.regularization * np.eye(factors.shape[1])
    return np.linalg.solve(left, factors.T @ (confidence * preference))


@pytest.mark.parametrize("rows", [0, 2])
def test_models_fit_what_hardly_anybody_liked(rows):
    likes = sp.csr_matrix(np.eye(3, 5, dtype=np.float32)[:rows])
    als = AlsModel.fit(likes, ALS, seed=1, threads=1)
    assert als.known.sum() == rows
