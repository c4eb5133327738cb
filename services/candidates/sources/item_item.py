"""The linear item-item model: EASE in closed form, or a sparse model where the catalogue is too large for that."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.index.allowed import Allowed
from services.candidates.ports import Proposal
from services.candidates.sources.co_occurrence import newest_likes
from services.candidates.sources.item_item_sparse import fit_sparse
from services.candidates.sources.item_weights import NO_LIKES, ItemWeights, largest
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.ranking import best

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import scipy.sparse as sp

    from services.candidates.arrays import F32, I32, I64, Mask
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.hyperparameters import ItemItemParameters
    from services.candidates.sources.kind import Opening, TrainingData
    from services.candidates.training.likes import Likes

_FILE = "choice.txt"
_DENSE_ARRAYS = 6
"""Square float32 arrays that the solve of EASE holds at its peak, measured: 3 with more users than items, else 6."""


@dataclass(frozen=True, eq=False)
class ItemItemModel:
    """Weights of EASE (Steck: Embarrassingly Shallow Autoencoders for Sparse Data, 2019), or of its sparse relative.

    `known`, bool (items,): the items in the model, all of those with `min_likes` likes in both cases.
    """

    weights: ItemWeights
    """Row i: what a like of item i adds to the scores of the other items."""
    known: Mask
    choice: str
    """Which of the two it is and why, for people to read."""

    @classmethod
    def fit(cls, likes: Likes, parameters: ItemItemParameters) -> ItemItemModel:
        """Solves for all items with enough likes."""
        known = likes.per_item >= parameters.min_likes
        items = np.flatnonzero(known)
        dense, choice = _choose(len(items), parameters)
        if not len(items):
            return cls(ItemWeights.nothing(len(known)), known, choice)
        if dense:
            rows, columns, weights = _ease(likes.matrix[:, items].tocsr(), parameters)
        else:
            own = newest_likes(likes, parameters.newest_likes)[:, items].tocsr()
            rows, columns, weights = fit_sparse(own, parameters)
        rows, columns = items[rows].astype(np.int32), items[columns].astype(np.int32)
        return cls(ItemWeights.of(rows, columns, weights, len(known), parameters.neighbours), known, choice)

    def save(self, folder: Path) -> None:
        """Writes the model into a folder, which is made when it is missing."""
        self.weights.save(folder)
        np.save(folder / "known.npy", self.known)
        (folder / _FILE).write_text(self.choice)

    @classmethod
    def load(cls, folder: Path) -> ItemItemModel:
        """Reads what `save` wrote; the weights stay on disk until they are used.

        Raises:
            OSError, ValueError: the folder does not hold a model.

        """
        return cls(ItemWeights.load(folder), np.load(folder / "known.npy"), (folder / _FILE).read_text())


def _choose(items: int, parameters: ItemItemParameters) -> tuple[bool, str]:
    """Returns whether EASE fits, and the choice in words."""
    needed = math.ceil(_DENSE_ARRAYS * 4 * items**2 / 1e6)
    need = f"{items:,} items need {needed:,} MB of {parameters.max_megabytes:,}"
    if items > parameters.max_items:
        return (
            False,
            f"sparse, {parameters.local_items} weights an item: {items:,} items are over {parameters.max_items:,}",
        )
    if needed > parameters.max_megabytes:
        return False, f"sparse, {parameters.local_items} weights an item: for EASE {need}"
    return True, f"EASE: {need}"


def _ease(likes: sp.csr_matrix, parameters: ItemItemParameters) -> tuple[I32, I32, F32]:
    """Returns rows, columns and values of the weights of EASE, of each row the largest."""
    precision = _precision(likes, parameters.regularization)
    weights = np.divide(precision, -np.diag(precision)[None, :], out=precision)
    np.fill_diagonal(weights, 0)
    keep = min(parameters.neighbours, len(weights) - 1)
    rows, columns, values = [], [], []
    for row, own in enumerate(weights):
        places = np.flatnonzero(largest(np.abs(own), keep) & (own != 0))
        rows.append(np.full(len(places), row, np.int32))
        columns.append(places.astype(np.int32))
        values.append(own[places])
    return np.concatenate(rows), np.concatenate(columns), np.concatenate(values)


def _precision(likes: sp.csr_matrix, regularization: float) -> F32:
    """Returns lambda-scaled (X'X + lambda I)^-1, whose scale cancels in EASE; the cheaper of two exact ways."""
    import scipy.linalg

    likes = likes[np.flatnonzero(np.diff(likes.indptr))]
    users, items = likes.shape
    if users >= items:
        gram = (likes.T @ likes).toarray().astype(np.float32, copy=False)
        gram[np.diag_indices_from(gram)] += regularization
        inverse: F32 = scipy.linalg.inv(gram, overwrite_a=True, check_finite=False)
        return inverse
    # Woodbury: lambda (X'X + lambda I)^-1 = I - X'(XX' + lambda I)^-1 X, a solve of size users only.
    dense = likes.toarray().astype(np.float32)
    kernel = (dense @ dense.T).astype(np.float64)
    kernel[np.diag_indices_from(kernel)] += regularization
    root = np.linalg.cholesky(kernel).astype(np.float32)
    half = scipy.linalg.solve_triangular(root, dense, lower=True, check_finite=False)
    precision: F32 = -(half.T @ half)
    precision[np.diag_indices_from(precision)] += 1.0
    return precision


class ItemItemSource:
    """Items that go with what the user liked."""

    name = "item_item"
    proposes = True

    def __init__(self, model: ItemItemModel) -> None:
        self._model = model
        self._known = Allowed(model.known)
        self.description = f"linear item-item model, {len(model.weights.weights):,} weights; {model.choice}"

    @property
    def n_items(self) -> int:
        """Items in the model."""
        return self._known.count

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the allowed items with the largest sum of weights."""
        if not self._knows_any(profile):
            return Proposal.nothing(NO_LIKES)
        sums = self._model.weights.sums(profile)
        if sums is not None:
            rows, scores = sums.positive(allowed)
            if len(rows) >= n:
                return best(rows, scores, n)
        # Too few that the likes speak for: also those that they say nothing of, or nothing good.
        rows = allowed.within(self._known).rows
        return best(rows, np.zeros(len(rows), np.float32) if sums is None else sums.at(rows), n)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns sums of weights times the strengths of the likes; NaN for items outside of the model."""
        scores = np.full(len(rows), np.nan, np.float32)
        if self._knows_any(profile):
            known = rows < len(self._model.known)
            known[known] = self._model.known[rows[known]]
            sums = self._model.weights.sums(profile)
            scores[known] = 0 if sums is None else sums.at(rows[known])
        return scores

    def _knows_any(self, profile: Profile) -> bool:
        inside = profile.liked[profile.liked < len(self._model.known)]
        return bool(self._model.known[inside].any())


def _fit(data: TrainingData, models: Mapping[str, Any]) -> ItemItemModel:
    del models
    return ItemItemModel.fit(data.likes, data.parameters.item_item)


def _open(model: ItemItemModel, opening: Opening) -> Sequence[Source]:
    del opening
    return (ItemItemSource(model),)


KIND = SourceKind("item_item", _fit, ItemItemModel.load, _open)
