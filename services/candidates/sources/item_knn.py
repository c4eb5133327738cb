"""Item-based collaborative filtering: items that the same users like as the user's liked items."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.ports import Proposal
from services.candidates.sources.co_occurrence import co_occurrence_blocks, newest_likes, strongest
from services.candidates.sources.item_weights import NO_LIKES, ItemWeights
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.ranking import best

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import scipy.sparse as sp

    from services.candidates.arrays import F32, F64, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.hyperparameters import ItemKnnParameters
    from services.candidates.sources.kind import Opening, TrainingData
    from services.candidates.training.likes import Likes

NO_NEIGHBOURS = "no item that may come is a neighbour of a liked one"
_FILE = "similarity.txt"


@dataclass(frozen=True, eq=False)
class ItemKnnModel:
    """Each item's nearest neighbours.

    Sarwar, Karypis, Konstan, Riedl: Item-Based Collaborative Filtering Recommendation Algorithms, 2001. The similarity
    of two items is the cosine of their columns of the matrix of strengths, with a constant added to the denominator
    that shrinks what few users say (Ferrari Dacrema, Cremonesi, Jannach: Are We Really Making Much Progress?, 2019):
    s(i, j) = x_i'x_j / (|x_i| |x_j| + shrinkage). "adjusted_cosine" takes the user's mean off each strength before. As
    likes have no low ratings among them, that is the mean over all items that somebody likes, 0 for what the user
    does not.
    """

    weights: ItemWeights
    """Row j: the similarity of each item that has j among its neighbours."""
    similarity: str

    @classmethod
    def fit(cls, likes: Likes, parameters: ItemKnnParameters) -> ItemKnnModel:
        """Compares all pairs of items with a common user, a block of items at a time."""
        matrix = newest_likes(likes, parameters.newest_likes)
        columns = _COLUMNS[parameters.similarity](matrix)
        liked, targets, similarities = [], [], []
        for start, block in co_occurrence_blocks(matrix):
            columns.to_similarities(start, block, parameters.shrinkage)
            places, rows = strongest(block, parameters.neighbours)
            values = block.data[places]
            usable = values > 0
            liked.append(block.indices[places][usable].astype(np.int32))
            targets.append((start + rows[usable]).astype(np.int32))
            similarities.append(values[usable].astype(np.float32))
        size = matrix.shape[1]
        if not liked:
            return cls(ItemWeights.nothing(size), parameters.similarity)
        arrays = (np.concatenate(liked), np.concatenate(targets), np.concatenate(similarities))
        return cls(ItemWeights.of(*arrays, size, parameters.max_targets), parameters.similarity)

    def save(self, folder: Path) -> None:
        """Writes the model into a folder, which is made when it is missing."""
        self.weights.save(folder)
        (folder / _FILE).write_text(self.similarity)

    @classmethod
    def load(cls, folder: Path) -> ItemKnnModel:
        """Reads what `save` wrote; the weights stay on disk until they are used.

        Raises:
            OSError, ValueError: the folder does not hold a model.

        """
        return cls(ItemWeights.load(folder), (folder / _FILE).read_text())


@dataclass(frozen=True, eq=False)
class _Columns:
    """What turns sums of products into similarities: (x_i - m)'(x_j - m) = x_i'x_j - x_i'm - x_j'm + m'm."""

    lengths: F64
    """|x_i - m|, (items,)."""
    with_mean: F64
    """x_i'm, (items,)."""
    mean_square: float
    """m'm."""

    @classmethod
    def plain(cls, matrix: sp.csr_matrix) -> _Columns:
        squares = np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, minlength=matrix.shape[1])
        return cls(np.sqrt(squares), np.zeros(matrix.shape[1]), 0.0)

    @classmethod
    def adjusted(cls, matrix: sp.csr_matrix) -> _Columns:
        users = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        items = max(len(np.unique(matrix.indices)), 1)
        means = np.bincount(users, matrix.data, minlength=matrix.shape[0]) / items
        with_mean = np.bincount(matrix.indices, matrix.data * means[users], minlength=matrix.shape[1])
        mean_square = float(means @ means)
        squares = cls.plain(matrix).lengths ** 2 - 2 * with_mean + mean_square
        # An item that every user likes as much as any other: nothing is left of it but rounding.
        return cls(np.sqrt(np.maximum(squares, 0)), np.asarray(with_mean, np.float64), mean_square)

    def to_similarities(self, start: int, block: sp.csr_matrix, shrinkage: float) -> None:
        """Turns the sums of a block into similarities, in place; that of an item with itself is 0."""
        rows = start + np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        products = block.data - self.with_mean[rows] - self.with_mean[block.indices] + self.mean_square
        scale = self.lengths[rows] * self.lengths[block.indices] + shrinkage
        block.data[:] = np.where((rows == block.indices) | (scale <= 0), 0, products / np.where(scale > 0, scale, 1))


_COLUMNS = {"cosine": _Columns.plain, "adjusted_cosine": _Columns.adjusted}


class ItemKnnSource:
    """Items whose neighbours the user liked."""

    name = "item_knn"
    proposes = True

    def __init__(self, model: ItemKnnModel) -> None:
        self._model = model
        self._n_items = len(np.unique(model.weights.columns))
        kind = model.similarity.replace("_", " ")
        self.description = f"item-based nearest neighbours by {kind}, {len(model.weights.weights):,} pairs"

    @property
    def n_items(self) -> int:
        """Items with neighbours."""
        return self._n_items

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the allowed items with the largest sum of similarities to liked items."""
        sums = self._model.weights.sums(profile)
        if sums is None:
            return Proposal.nothing(NO_LIKES)
        rows, scores = sums.positive(allowed)
        return best(rows, scores, n) if len(rows) else Proposal.nothing(NO_NEIGHBOURS)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns sums of similarities times the strengths of the likes; NaN where no liked item is a neighbour."""
        sums = self._model.weights.sums(profile)
        if sums is None:
            return np.full(len(rows), np.nan, np.float32)
        return sums.scores(rows)


def _fit(data: TrainingData, models: Mapping[str, Any]) -> ItemKnnModel:
    del models
    return ItemKnnModel.fit(data.likes, data.parameters.item_knn)


def _open(model: ItemKnnModel, opening: Opening) -> Sequence[Source]:
    del opening
    return (ItemKnnSource(model),)


KIND = SourceKind("item_knn", _fit, ItemKnnModel.load, _open)
