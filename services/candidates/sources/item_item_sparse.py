"""The linear item-item model of catalogues that EASE does not fit in: each item against its surroundings only."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.co_occurrence import co_occurrence_blocks, strongest

if TYPE_CHECKING:
    import scipy.sparse as sp

    from services.candidates.arrays import F32, F64, I32, I64
    from services.candidates.sources.hyperparameters import ItemItemParameters

SHRINKAGE = 10.0
"""Added to the denominator of the cosine that chooses the surroundings, as item-based neighbours have it."""
_BATCH = 256
"""Systems solved in one call."""
_BYTES = 16
"""Of a co-occurrence kept: int32 column and float32 value, twice while the blocks are joined."""
_MIN_KEPT = 64


def kept_co_occurrences(items: int, megabytes: int) -> int:
    """Returns how many co-occurrences of each of `items` items this memory holds, at least 64."""
    return max(int(megabytes * 1e6 / _BYTES / max(items, 1)), _MIN_KEPT)


def fit_sparse(matrix: sp.csr_matrix, parameters: ItemItemParameters) -> tuple[I32, I32, F32]:
    """Returns the weights: the liked item and the item that it speaks for, int32, and float32 values.

    Ning and Karypis: SLIM: Sparse Linear Methods for Top-N Recommender Systems, 2011, with their feature selection
    (fsSLIM): the `local_items` items of the largest cosine may speak for an item, S, and of those the weights are
    those of ridge regression in closed form, w = (G_SS + lambda I)^-1 G_Si with G = X'X. That is EASE with all other
    weights of the column held at 0, item by item: time grows with the items, not with their cube.

    Of G the largest entries of each row are kept, as many as memory allows. An entry that neither of its two rows has
    kept counts as what two items would have in common by chance, and not more than the smallest that was kept.

    Args:
        matrix: likes, float32 CSR (users, items), of the items of the model only.
        parameters: hyperparameters.

    """
    around, gram = _scan(matrix, parameters)
    cut = gram.smallest(kept_co_occurrences(matrix.shape[1], parameters.max_megabytes))
    squares = _squares(matrix)
    # The product of two of these is what the items would have in common if they had nothing to do with each other.
    chance = np.asarray(matrix.sum(axis=0), np.float64).ravel() / np.sqrt(np.count_nonzero(np.diff(matrix.indptr)))
    place = np.full(matrix.shape[1], -1, np.int32)
    widest = int(np.diff(around.indptr).max(initial=0))
    weights = np.zeros(len(around.columns), np.float32)
    for start in range(0, matrix.shape[1], _BATCH):
        bounds = around.indptr[start : start + _BATCH + 1].tolist()
        # Items with smaller surroundings than the others get rows of the unit matrix.
        left = np.tile(np.eye(widest), (len(bounds) - 1, 1, 1))
        right = np.zeros((len(bounds) - 1, widest, 1))
        for number, (begin, end) in enumerate(pairwise(bounds)):
            items = around.columns[begin:end]
            known = gram.among(items, place)
            guess = np.minimum(np.outer(chance[items], chance[items]), np.minimum.outer(cut[items], cut[items]))
            left[number, : len(items), : len(items)] = np.where(known > 0, known, guess)
            left[number, range(len(items)), range(len(items))] = squares[items] + parameters.local_regularization
            right[number, : len(items), 0] = around.values[begin:end]
        solved = _solve(left, right, parameters.local_regularization)
        for number, (begin, end) in enumerate(pairwise(bounds)):
            weights[begin:end] = solved[number, : end - begin]
    targets = np.repeat(np.arange(matrix.shape[1], dtype=np.int32), np.diff(around.indptr))
    return around.columns, targets, weights


@dataclass(frozen=True, eq=False)
class _Rows:
    """Some entries of each row of G, without the diagonal: CSR arrays, columns ascending."""

    indptr: I64
    columns: I32
    values: F32

    @classmethod
    def joined(cls, parts: list[tuple[I64, I32, F32]]) -> _Rows:
        lengths = np.concatenate([np.zeros(1, np.int64), *(part[0] for part in parts)])
        columns = np.concatenate([np.zeros(0, np.int32), *(part[1] for part in parts)])
        return cls(np.cumsum(lengths), columns, np.concatenate([np.zeros(0, np.float32), *(part[2] for part in parts)]))

    def smallest(self, keep: int) -> F64:
        """Returns the smallest entry of each row that has `keep` entries: what was dropped is not larger. Else 0."""
        smallest = np.zeros(len(self.indptr) - 1)
        for row in np.flatnonzero(np.diff(self.indptr) >= keep).tolist():
            smallest[row] = self.values[self.indptr[row] : self.indptr[row + 1]].min()
        return smallest

    def among(self, items: I32, place: I32) -> F64:
        """Returns G between these items, (len(items), len(items)), 0 on the diagonal.

        `place`, int32 (all items,), is scratch: -1 everywhere, before and after.
        """
        place[items] = np.arange(len(items), dtype=np.int32)
        bounds = list(zip(self.indptr[items].tolist(), self.indptr[items + 1].tolist(), strict=True))
        columns = np.concatenate([self.columns[begin:end] for begin, end in bounds])
        places = place[columns]
        inside = np.flatnonzero(places >= 0)
        values = np.concatenate([self.values[begin:end] for begin, end in bounds])[inside]
        rows = np.repeat(np.arange(len(items)), [end - begin for begin, end in bounds])[inside]
        found = np.zeros((len(items), len(items)))
        found[rows, places[inside]] = values
        place[items] = -1
        # One of two items can have kept what the other dropped.
        return np.maximum(found, found.T)


def _scan(matrix: sp.csr_matrix, parameters: ItemItemParameters) -> tuple[_Rows, _Rows]:
    """Returns of each row of G the entries of the largest cosine, and the largest entries."""
    lengths = np.sqrt(_squares(matrix))
    kept = kept_co_occurrences(matrix.shape[1], parameters.max_megabytes)
    around: list[tuple[I64, I32, F32]] = []
    gram: list[tuple[I64, I32, F32]] = []
    for start, block in co_occurrence_blocks(matrix):
        rows = start + np.repeat(np.arange(block.shape[0]), np.diff(block.indptr))
        block.data[rows == block.indices] = 0
        products = block.data
        gram.append(_part(block, products, kept))
        block.data = products / (lengths[rows] * lengths[block.indices] + SHRINKAGE)
        around.append(_part(block, products, parameters.local_items))
    return _Rows.joined(around), _Rows.joined(gram)


def _part(block: sp.csr_matrix, products: F64, keep: int) -> tuple[I64, I32, F32]:
    places, rows = strongest(block, keep)
    usable = products[places] > 0
    places = places[usable]
    lengths = np.bincount(rows[usable], minlength=block.shape[0])
    return lengths, block.indices[places].astype(np.int32), products[places].astype(np.float32)


def _squares(matrix: sp.csr_matrix) -> F64:
    squares = np.bincount(matrix.indices, matrix.data.astype(np.float64) ** 2, minlength=matrix.shape[1])
    return np.asarray(squares, np.float64)


def _solve(left: F64, right: F64, floor: float) -> F64:
    """Solves (n, m, m) systems whose true eigenvalues are at least `floor`; returns (n, m)."""
    try:
        np.linalg.cholesky(left)
    except np.linalg.LinAlgError:
        # Entries that were not kept took definiteness away: the diagonal makes up for it.
        lacking = np.maximum(floor - np.linalg.eigvalsh(left)[:, 0], 0)
        left = left + lacking[:, None, None] * np.eye(left.shape[1])
    return np.asarray(np.linalg.solve(left, right)[:, :, 0], np.float64)
