"""The two-tower source against a dense forward pass."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from services.candidates.adapters.faiss_flat import FlatIndex
from services.candidates.adapters.faiss_indexes import FaissIndexes
from services.candidates.index.allowed import Allowed
from services.candidates.index.parameters import IndexParameters
from services.candidates.profile import Profile
from services.candidates.sources.aligned_text import ItemTexts
from services.candidates.sources.hyperparameters import Hyperparameters, TwoTowerParameters
from services.candidates.sources.kind import TrainingData
from services.candidates.sources.own_vectors import filled, to_build
from services.candidates.sources.two_tower import KIND, TwoTowerSource
from services.candidates.training.likes import Likes
from shared.data.nouns import Item
from shared.testing.candidate_source import N_ITEMS, CandidateSourceContract

pytest.importorskip("tensorflow")

HISTORY, HALF_LIFE = 16, 5.0
PARAMETERS = TwoTowerParameters(
    dim=8, hidden=12, text_components=6, history=HISTORY, half_life=HALF_LIFE, batch=256, window=8, epochs=3
)
NAMELESS = N_ITEMS - 1
"""An item without text, attributes and likes: nothing can be said of it."""


def catalogue():
    rng = np.random.default_rng(2)
    full = rng.standard_normal((N_ITEMS, 16)).astype(np.float32)
    full[[7, NAMELESS]] = np.nan
    items = [
        Item(str(row), "title", categories=(f"c{row % 4}",), attributes={"year": 1990.0 + row % 20})
        for row in range(NAMELESS)
    ]
    return [*items, Item(str(NAMELESS))], ItemTexts(full, full)


def likes_of_matrix(dense):
    rng = np.random.default_rng(4)
    rows = [rng.permutation(np.flatnonzero(own)) for own in dense]
    sequence = np.concatenate(rows).astype(np.int64)
    return Likes(
        matrix=sp.csr_matrix(dense),
        events=np.bincount(sequence, minlength=dense.shape[1]).astype(np.int64),
        users=tuple(str(user) for user in range(len(dense))),
        sequence=sequence,
        times=np.arange(len(sequence), dtype=np.float64),
    )


class TestTwoTower(CandidateSourceContract):
    fitted_before: dict = {}  # noqa: RUF012 (TensorFlow traces for seconds; that a second fit is the same: unit tests)

    def fit(self, likes):
        key = likes.tobytes()
        if key not in self.fitted_before:
            items, texts = catalogue()
            parameters = Hyperparameters(two_tower=PARAMETERS, seed=1)
            data = TrainingData(items, texts, likes_of_matrix(likes), parameters)
            self.fitted_before[key] = KIND.fit(data, {})
        return self.fitted_before[key]

    def stored(self, fitted, folder):
        fitted.save(folder)
        return KIND.load(folder)

    def source(self, fitted):
        return TwoTowerSource(fitted, filled(FlatIndex, fitted.vectors))

    def profile(self, liked):
        return Profile(liked, strengths_of(liked))

    def allowed(self, mask):
        return Allowed(mask)

    def oracle(self, fitted, liked):
        newest = liked[-HISTORY:]
        strengths = strengths_of(newest)
        features = written_of_all(fitted)
        pooled, total = np.zeros(8), 0.0
        for age, row in enumerate(reversed(newest.tolist())):
            weight = strengths[len(newest) - 1 - age] * 2.0 ** (-age / HALF_LIFE)
            pooled += weight * (fitted.context_ids[row] + layer(fitted, "context_projection", features[row]))
            total += weight
        user = tower(fitted, "user", pooled / total)
        scores = [
            tower(fitted, "item", fitted.ids[row] + layer(fitted, "item_projection", features[row])) @ user
            for row in range(N_ITEMS)
        ]
        scores[NAMELESS] = np.nan
        return np.array(scores, np.float32)


class TestTwoTowerOverABuiltIndex(TestTwoTower):
    """Every cluster is looked into: what is found is exact, and nothing is scored one by one."""

    indexes = FaissIndexes(IndexParameters(type="ivf", exact_rows=0, nprobe=N_ITEMS, threads=1))

    def fit(self, likes):
        model = super().fit(likes)
        return model, self.indexes.build(to_build(model.vectors))

    def stored(self, fitted, folder):
        model, index = fitted
        self.indexes.save(index, folder / "index", "e1")
        return super().stored(model, folder / "model"), self.indexes.open(folder / "index", "e1")

    def source(self, fitted):
        model, index = fitted
        assert (index.type, index.count) == ("ivf", N_ITEMS - 1)
        return TwoTowerSource(model, index)

    def oracle(self, fitted, liked):
        return super().oracle(fitted[0], liked)


def strengths_of(rows):
    return (1 + rows % 3).astype(np.float32)


def written_of_all(model):
    """Features of the catalogue: components of the text, categories, hat functions of the year, the share missing."""
    items, texts = catalogue()
    encoder = model.features.encoder
    rows = []
    for item, text in zip(items, texts.full, strict=True):
        centred = np.zeros(16) if np.isnan(text).any() else text - model.features.text_mean
        words = [float(word in item.categories) for word in encoder.words]
        (year,) = encoder.numbers
        hats = np.eye(len(year.knots))
        value = item.attributes.get("year")
        numbers = [0.0] * len(hats) if value is None else [np.interp(value, year.knots, hat) for hat in hats]
        lacking = 0.0 if item.categories else 1.0
        rows.append([*(centred @ model.features.text_components), *words, *numbers, lacking])
    return np.array(rows)


def layer(model, name, inputs):
    arrays = model.weights.to_arrays()
    return inputs @ arrays[name].astype(np.float64) + arrays[f"{name}_bias"]


def tower(model, name, inputs):
    moved = inputs + layer(model, f"{name}_out", np.clip(layer(model, f"{name}_hidden", inputs), 0, None))
    return moved / np.sqrt(np.sum(moved**2))
