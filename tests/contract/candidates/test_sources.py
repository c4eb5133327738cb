"""Every source against a brute-force oracle."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.profile import Profile
from services.candidates.sources.als import AlsModel, AlsSource
from services.candidates.sources.hyperparameters import AlsParameters, ItemItemParameters, TextParameters
from services.candidates.sources.item_item import ItemItemModel, ItemItemSource
from services.candidates.sources.popular import PopularSource
from services.candidates.sources.text import ItemTexts, TextMap, TextSource
from services.candidates.sources.views import views
from shared.data.nouns import Item
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract

ALS = AlsParameters(factors=8, regularization=0.5, iterations=8)


def indexed(vectors):
    index = FlatIndex(vectors.shape[1])
    rows = np.flatnonzero(~np.isnan(vectors).any(axis=1))
    index.put(rows, vectors[rows])
    return index


class PersonalContract(CandidateSourceContract):
    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))


class TestAls(PersonalContract):
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


class TestItemItem(PersonalContract):
    parameters = ItemItemParameters(regularization=4.0, min_likes=3, neighbours=N_ITEMS)

    def fit(self, likes):
        return likes, ItemItemModel.fit(sp.csr_matrix(likes), self.parameters)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], ItemItemModel.load(folder)

    def source(self, fitted):
        return ItemItemSource(fitted[1])

    def oracle(self, fitted, liked):
        likes = fitted[0].astype(np.float64)
        known = likes.sum(axis=0) >= self.parameters.min_likes
        inverse = np.linalg.inv(likes[:, known].T @ likes[:, known] + 4.0 * np.eye(known.sum()))
        weights = -inverse / np.diag(inverse)[None, :]
        np.fill_diagonal(weights, 0)
        full = np.zeros((N_ITEMS, N_ITEMS))
        full[np.ix_(known, known)] = weights
        return np.where(known, full[liked].sum(axis=0), np.nan).astype(np.float32)


class TestItemItemWithMoreUsersThanItems(TestItemItem):
    """The other of the two ways to solve."""

    def fit(self, likes):
        return super().fit(np.vstack([likes, likes, likes]))


class TestText(PersonalContract):
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
        loaded = TextMap.load(folder / "text", text_map.parameters)
        return AlsModel.load(folder / "als"), loaded, items, texts

    def source(self, fitted):
        als, text_map, items, texts = fitted
        return TextSource(als, indexed(text_map.map(items, texts)))

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


class TestPopular(CandidateSourceContract):
    personal = False

    def profile(self, liked):
        return Profile(liked, np.ones(len(liked), np.float32))

    def fit(self, likes):
        counts = likes.sum(axis=0).astype(np.int64)
        return counts, PopularSource(counts)

    def stored(self, fitted, folder):
        fitted[1].save(folder)
        return fitted[0], PopularSource.load(folder)

    def source(self, fitted):
        return fitted[1]

    def oracle(self, fitted, liked):
        del liked
        return np.log(1.0 + fitted[0]).astype(np.float32)


class TestItemItemRecent(TestItemItem):
    """A view of a source is a source."""

    def source(self, fitted):
        source = super().source(fitted)
        return {view.name: view for view in views(source, source, source)}["item_item_recent"]

    def oracle(self, fitted, liked):
        return super().oracle(fitted, liked[-5:])


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


def test_fewer_neighbours_keep_the_largest_weights():
    rng = np.random.default_rng(0)
    likes = sp.csr_matrix((rng.random((40, 60)) < 0.2).astype(np.float32))
    every = ItemItemModel.fit(likes, ItemItemParameters(4.0, 1, 8000, 60))
    few = ItemItemModel.fit(likes, ItemItemParameters(4.0, 1, 8000, 7))
    for row in np.flatnonzero(few.known):
        kept = few.weights[few.indptr[row] : few.indptr[row + 1]]
        full = every.weights[every.indptr[row] : every.indptr[row + 1]]
        np.testing.assert_allclose(np.sort(np.abs(kept)), np.sort(np.abs(full))[-len(kept) :], rtol=1e-5)
        assert len(kept) == 7


@pytest.mark.parametrize("rows", [0, 2])
def test_models_fit_what_hardly_anybody_liked(rows):
    likes = sp.csr_matrix(np.eye(3, 5, dtype=np.float32)[:rows])
    als = AlsModel.fit(likes, ALS, seed=1, threads=1)
    item_item = ItemItemModel.fit(likes, ItemItemParameters())
    assert als.known.sum() == rows
    assert item_item.known.sum() == 0
