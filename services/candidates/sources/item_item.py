"""The linear item-item model EASE in closed form, its weights kept sparse."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.ports import Proposal
from services.candidates.sources.ranking import best

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse as sp

    from services.candidates.arrays import F32, I32, I64, Mask
    from services.candidates.profile import Profile
    from services.candidates.sources.hyperparameters import ItemItemParameters

NO_LIKES = "no liked item in the history that the model knows"


@dataclass(frozen=True, eq=False)
class _Entries:
    """The liked items' rows of the weights, one after the other."""

    usable: Mask
    """Which of the liked items are in the model."""
    lengths: I64
    """Entries of each of those."""
    columns: I64
    weights: F32


@dataclass(frozen=True, eq=False)
class ItemItemModel:
    """Weights of EASE (Steck: Embarrassingly Shallow Autoencoders for Sparse Data, 2019).

    Row i holds what a like of item i adds to the score of every other item: CSR arrays `indptr` (items + 1),
    `columns` and `weights`. `known`, bool (items,): the items in the model.
    """

    indptr: I64
    columns: I32
    weights: F32
    known: Mask

    @classmethod
    def fit(cls, likes: sp.csr_matrix, parameters: ItemItemParameters) -> ItemItemModel:
        """Solves for likes, float32 strengths of shape (users, items)."""
        import scipy.sparse as sp

        n_items = likes.shape[1]
        counts = np.bincount(likes.indices, minlength=n_items)
        order = np.argsort(-counts, kind="stable")[: parameters.max_items]
        items = np.sort(order[counts[order] >= parameters.min_likes])
        known = np.zeros(n_items, bool)
        known[items] = True
        if not len(items):
            return cls(np.zeros(n_items + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32), known)
        precision = _precision(likes[:, items].tocsr(), parameters.regularization)
        dense = -precision / np.diag(precision)[None, :]
        np.fill_diagonal(dense, 0)
        rows, columns, weights = _largest(dense, min(parameters.neighbours, len(items) - 1))
        matrix = sp.csr_matrix((weights, (items[rows], items[columns])), shape=(n_items, n_items))
        matrix.sort_indices()
        return cls(matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data, known)

    def scores(self, profile: Profile) -> F32 | None:
        """Returns the scores of all items, (items,): the sum of the liked items' rows; None without a known like."""
        return profile.keep(f"item_item {id(self)}", lambda: self._scores(profile))

    def _scores(self, profile: Profile) -> F32 | None:
        # The same for every view that only weighs the likes otherwise.
        own = profile.keep_of_liked(f"item_item entries {id(self)}", lambda: self._entries(profile.liked))
        if own is None:
            return None
        added = own.weights * np.repeat(profile.strengths[own.usable], own.lengths)
        return np.bincount(own.columns, added, minlength=len(self.known)).astype(np.float32)

    def _entries(self, liked: I64) -> _Entries | None:
        usable = liked < len(self.known)
        usable[usable] = self.known[liked[usable]]
        if not usable.any():
            return None
        starts, ends = self.indptr[liked[usable]], self.indptr[liked[usable] + 1]
        # Whole rows are copied: much cheaper than to look up some ten thousand places one by one.
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        columns = np.concatenate([self.columns[part] for part in parts]).astype(np.int64)
        return _Entries(usable, ends - starts, columns, np.concatenate([self.weights[part] for part in parts]))

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("indptr", "columns", "weights", "known"):
            np.save(folder / f"{name}.npy", getattr(self, name))

    @classmethod
    def load(cls, folder: Path) -> ItemItemModel:
        """Reads what `save` wrote; the weights stay on disk until they are used.

        Raises:
            OSError, ValueError: the folder does not hold a model.

        """
        # As plain arrays: every slice of a `memmap` costs microseconds.
        columns, weights = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("columns", "weights")
        )
        return cls(np.load(folder / "indptr.npy"), columns, weights, np.load(folder / "known.npy"))


def _precision(likes: sp.csr_matrix, regularization: float) -> F32:
    """Returns lambda-scaled (X'X + lambda I)^-1, whose scale cancels in EASE; the cheaper of two exact ways."""
    import scipy.linalg

    likes = likes[np.flatnonzero(np.diff(likes.indptr))]
    users, items = likes.shape
    if users >= items:
        gram = (likes.T @ likes).toarray().astype(np.float32)
        gram[np.diag_indices_from(gram)] += regularization
        inverse: F32 = np.linalg.inv(gram)
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


def _largest(dense: F32, keep: int) -> tuple[I64, I64, F32]:
    """Returns rows, columns and values of the `keep` largest entries of each row by absolute value."""
    if keep <= 0:
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.float32)
    columns = np.argpartition(-np.abs(dense), keep - 1, axis=1)[:, :keep]
    weights = np.take_along_axis(dense, columns, axis=1)
    rows = np.repeat(np.arange(len(dense)), keep)
    return rows, columns.ravel(), weights.ravel().astype(np.float32)


class ItemItemSource:
    """Items that go with what the user liked."""

    name = "item_item"
    proposes = True

    def __init__(self, model: ItemItemModel) -> None:
        self._model = model
        self.description = f"EASE, linear item-item model in closed form, {len(model.weights):,} weights"

    @property
    def n_items(self) -> int:
        """Items in the model."""
        return int(self._model.known.sum())

    def propose(self, profile: Profile, n: int, allowed: Mask) -> Proposal:
        """Returns the allowed items with the largest sum of weights."""
        scores = self._model.scores(profile)
        if scores is None:
            return Proposal.nothing(NO_LIKES)
        shared = min(len(allowed), len(scores))
        rows = np.flatnonzero(allowed[:shared] & self._model.known[:shared])
        return best(rows, scores[rows], n)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns sums of weights; NaN for items outside of the model."""
        scores = np.full(len(rows), np.nan, np.float32)
        every = self._model.scores(profile)
        if every is not None:
            known = rows < len(every)
            known[known] = self._model.known[rows[known]]
            scores[known] = every[rows[known]]
        return scores
