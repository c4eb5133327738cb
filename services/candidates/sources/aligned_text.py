"""Language model vectors and attributes, aligned to the ALS space: how an item without events gets into it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.als import NO_LIKES
from services.candidates.sources.attributes import AttributeEncoder
from services.candidates.sources.hyperparameters import TextParameters
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.nearest import NearestSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    import scipy.sparse as sp

    from services.candidates.arrays import F32, I64
    from services.candidates.ports import Source, VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.als import AlsModel
    from services.candidates.sources.kind import Opening, TrainingData
    from shared.data.nouns import Item

_BIAS_PENALTY = 1e-3
"""Ridge penalty of the constant: next to none."""


@dataclass(frozen=True, eq=False)
class ItemTexts:
    """Language model vectors of items, float32 (items, dim), NaN rows where there is none.

    `full` of all that is written on the item, `title` of its title alone: needed of `masked_rows` and of items that
    lack attributes.
    """

    full: F32
    title: F32


@dataclass(frozen=True, eq=False)
class TextMap:
    """Ridge regression from [vector, attributes, share missing, 1] to ALS item factors.

    Trained on the most liked items twice, the second time as if only their title were known: one map for both kinds.
    An item that lacks attributes is drawn towards its neighbours by title among those (softmax-weighted mean of their
    factors). Items without any vector (the language model did not answer yet) are mapped from their attributes alone
    by a ridge of their own, `attribute_weights`. Ridge brings an item near its factors; `fit_to_likes` then moves the
    first map to what ranks the liked items first.
    """

    encoder: AttributeEncoder
    weights: F32
    attribute_weights: F32
    neighbour_titles: F32
    neighbour_factors: F32
    parameters: TextParameters

    @classmethod
    def fit(
        cls, items: Sequence[Item], texts: ItemTexts, factors: F32, likes: I64, parameters: TextParameters
    ) -> TextMap:
        """Fits the map on the items with at least one like.

        Args:
            items: the catalogue, n items.
            texts: their vectors.
            factors: their ALS factors, (n, factors).
            likes: their number of likes, (n,): an item counts with the square root of it.
            parameters: hyperparameters.

        """
        encoder = AttributeEncoder.fit(items, parameters)
        liked = np.flatnonzero(likes > 0)
        attributes = encoder.encode([items[row] for row in liked.tolist()])
        weight = np.sqrt(likes[liked]).astype(np.float32)
        alone = _ridge(_design(encoder, None, attributes), factors[liked], weight, parameters.regularization)
        has_text = ~np.isnan(texts.full[liked, 0])
        shown = _design(encoder, texts.full[liked[has_text]], attributes[has_text])
        rows = masked_rows(likes, parameters)
        rows = rows[~np.isnan(texts.title[rows, 0])]
        titles, targets = texts.title[rows], factors[rows]
        masked = _design(encoder, titles, np.zeros((len(rows), encoder.width), np.float32))
        masked_weight = np.sqrt(likes[rows]).astype(np.float32) * np.float32(parameters.masked_weight)
        weights = _ridge(
            np.vstack([shown, masked]),
            np.vstack([factors[liked[has_text]], targets]),
            np.concatenate([weight[has_text], masked_weight]),
            parameters.regularization,
        )
        return cls(encoder, weights, alone, titles, targets, parameters)

    def fit_to_likes(
        self, items: Sequence[Item], texts: ItemTexts, likes: sp.csr_matrix, als: AlsModel, seed: int
    ) -> TextMap:
        """Returns the map moved so that, of the items with text, those that a user likes come before the others.

        Args:
            items: the catalogue, n items.
            texts: their vectors.
            likes: strengths, float32 CSR (users, n).
            als: the model whose factors the map was fitted to.
            seed: of the users and items that are drawn where there are many.

        """
        # It needs scipy, which serving does without.
        from services.candidates.training.text_softmax import MAX_ITEMS, drawn, refit

        rows = np.flatnonzero((likes.getnnz(axis=0) > 0) & ~np.isnan(texts.full[:, 0]))
        rows = drawn(rows, MAX_ITEMS, seed)
        attributes = self.encoder.encode([items[row] for row in rows.tolist()])
        features = _design(self.encoder, texts.full[rows], attributes)
        return replace(self, weights=refit(self.weights, features, rows, likes, als, self.parameters, seed))

    @property
    def dim(self) -> int:
        """Length of the mapped vectors."""
        return int(self.weights.shape[1])

    def map(self, items: Sequence[Item], texts: ItemTexts) -> F32:
        """Returns the items' vectors in the ALS space, (items, factors); NaN rows where nothing is known of one."""
        attributes = self.encoder.encode(items)
        missing = self.encoder.missing(attributes)
        mapped = np.full((len(items), self.dim), np.nan, np.float32)
        has_text = ~np.isnan(texts.full[:, 0])
        rows = np.flatnonzero(has_text)
        if len(rows):
            mapped[rows] = _design(self.encoder, texts.full[rows], attributes[rows]) @ self.weights
            lacking = rows[missing[rows] > 0]
            mapped[lacking] += self._from_neighbours(texts.title[lacking], missing[lacking])
        rows = np.flatnonzero(~has_text & attributes.any(axis=1))
        mapped[rows] = _design(self.encoder, None, attributes[rows]) @ self.attribute_weights
        return mapped

    def map_text(self, vectors: F32) -> F32:
        """Returns free texts' vectors, (texts, dim), in the ALS space: as of items with a title and nothing else."""
        attributes = np.zeros((len(vectors), self.encoder.width), np.float32)
        missing = self.encoder.missing(attributes)
        mapped = _design(self.encoder, vectors, attributes) @ self.weights
        moved: F32 = mapped + self._from_neighbours(vectors, missing)
        return moved

    def _from_neighbours(self, titles: F32, missing: F32) -> F32:
        count = min(self.parameters.neighbours, len(self.neighbour_titles))
        if not count or not len(titles):
            return np.zeros((len(titles), self.dim), np.float32)
        cosines = np.nan_to_num(titles) @ self.neighbour_titles.T
        nearest = np.argpartition(-cosines, count - 1, axis=1)[:, :count]
        near = np.take_along_axis(cosines, nearest, axis=1)
        attention = np.exp(self.parameters.sharpness * (near - near.max(axis=1, keepdims=True)))
        attention /= attention.sum(axis=1, keepdims=True)
        mean = np.einsum("ij,ijk->ik", attention, self.neighbour_factors[nearest])
        moved: F32 = (self.parameters.neighbour_share * missing[:, None] * mean).astype(np.float32)
        return moved

    def save(self, folder: Path) -> None:
        """Writes the map into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("weights", "attribute_weights", "neighbour_factors"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        np.save(folder / "neighbour_titles.npy", self.neighbour_titles.astype(np.float16))
        values = {"encoder": self.encoder.to_json(), "parameters": asdict(self.parameters)}
        (folder / "text.json").write_text(json.dumps(values))

    @classmethod
    def load(cls, folder: Path) -> TextMap:
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold a map.

        """
        values = json.loads((folder / "text.json").read_text())
        titles = np.load(folder / "neighbour_titles.npy").astype(np.float32)
        weights, alone, factors = (
            np.load(folder / f"{name}.npy") for name in ("weights", "attribute_weights", "neighbour_factors")
        )
        encoder = AttributeEncoder.from_json(values["encoder"])
        return cls(encoder, weights, alone, titles, factors, TextParameters(**values["parameters"]))


def masked_rows(likes: I64, parameters: TextParameters) -> I64:
    """Returns the items, ascending, that are trained on a second time by their title: the most liked ones.

    Args:
        likes: number of likes, (items,); of equal numbers the lower row first, without likes none.
        parameters: how many.

    """
    order = np.argsort(-likes, kind="stable")[: parameters.masked_items]
    return np.sort(order[likes[order] > 0])


def _design(encoder: AttributeEncoder, vectors: F32 | None, attributes: F32) -> F32:
    parts = [attributes, encoder.missing(attributes)[:, None], np.ones((len(attributes), 1), np.float32)]
    return np.hstack(parts if vectors is None else [vectors, *parts])


def _ridge(features: F32, targets: F32, weights: F32, penalty: float) -> F32:
    """Solves weighted ridge regression; the last feature is the constant. Returns (features, targets)."""
    weighted = features.T * weights
    left = (weighted @ features).astype(np.float64)
    penalties = np.full(len(left), penalty)
    penalties[-1] = _BIAS_PENALTY
    left[np.diag_indices_from(left)] += penalties
    solution: F32 = np.linalg.solve(left, (weighted @ targets).astype(np.float64)).astype(np.float32)
    return solution


class AlignedTextSource(NearestSource):
    """Items whose text and attributes fit the user's factors: also those without any event."""

    name = "aligned_text"
    proposes = True
    description = "linear map from language model vector and attributes to the ALS space"

    def __init__(self, als: AlsModel, index: VectorIndex) -> None:
        super().__init__(index, NO_LIKES)
        self._als = als

    def user_vector(self, profile: Profile) -> F32 | None:
        """Returns the user's factors; None when no liked item is known."""
        user = self._als.fold_in(profile)
        return user if user.any() else None


def _fit(data: TrainingData, models: Mapping[str, Any]) -> TextMap:
    als: AlsModel = models["als"]
    fitted = TextMap.fit(data.items, data.texts, als.factors, data.likes.per_item, data.parameters.text)
    if not data.parameters.text.softmax_steps:
        return fitted
    return fitted.fit_to_likes(data.items, data.texts, data.likes.matrix, als, data.parameters.seed)


def _open(model: TextMap, opening: Opening) -> Sequence[Source]:
    del model
    return [AlignedTextSource(opening.models["als"], opening.spaces.mapped)]


KIND = SourceKind("aligned_text", _fit, TextMap.load, _open, needs=("als",))
