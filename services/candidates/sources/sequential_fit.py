"""How the transitions between items are counted: exactly, in bounded memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.ranking import best_places

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp

    from services.candidates.arrays import F32, F64, I32, I64
    from services.candidates.sources.hyperparameters import SequentialParameters
    from services.candidates.training.likes import Likes

DAY_S = 86_400.0
_PAIRS = 4_000_000
"""Pairs of likes that are looked at together: some 300 MB."""


def transitions(likes: Likes, parameters: SequentialParameters) -> tuple[I64, I32, F32]:
    """Returns the largest transition weights of each item as CSR arrays: indptr, columns (ascending), weights.

    Every like within `window` of one of item i, of the same user, adds
    0.5^((distance - 1) / half_life) * 0.5^(gap / gap_half_life) to the weight i → j, times `backward` when it came
    before. The sum is divided by likes_i^item_power * likes_j^popularity_power.

    Args:
        likes: n users, m items, l likes.
        parameters: the window, the half-lives, the powers.

    """
    n_items = likes.matrix.shape[1]
    counts = np.bincount(likes.sequence, minlength=n_items)
    into = np.where(counts >= parameters.min_likes, np.maximum(counts, 1.0) ** -parameters.popularity_power, 0)
    out_of = np.maximum(counts, 1.0) ** -parameters.item_power
    pairs = _Pairs(likes, parameters)
    # The places of each item's likes in the sequence, item by item.
    places = np.argsort(likes.sequence, kind="stable")
    bounds = np.concatenate([[0], np.cumsum(counts)])
    lengths, columns, weights = [np.zeros(1, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for first, last in _blocks(bounds, max(_PAIRS // pairs.per_like, 1)):
        block = pairs.summed(places[bounds[first] : bounds[last]], first, last)
        block.data *= (np.repeat(out_of[first:last], np.diff(block.indptr)) * into[block.indices]).astype(np.float32)
        kept = _largest(block, parameters.neighbours)
        lengths.append(np.diff(kept.indptr))
        columns.append(kept.indices)
        weights.append(kept.data)
    indptr = np.cumsum(np.concatenate(lengths), dtype=np.int64)
    return indptr, np.concatenate(columns).astype(np.int32), np.concatenate(weights)


class _Pairs:
    """The likes around each like."""

    def __init__(self, likes: Likes, parameters: SequentialParameters) -> None:
        self._sequence = likes.sequence.astype(np.int32)
        self._times: F64 = likes.times
        self._users: I32 = np.repeat(np.arange(likes.matrix.shape[0], dtype=np.int32), np.diff(likes.matrix.indptr))
        self._n_items = likes.matrix.shape[1]
        self._gap_half_life = parameters.gap_half_life_days * DAY_S
        longest = int(np.diff(likes.matrix.indptr).max(initial=1)) - 1
        distances = np.arange(1, min(parameters.window, longest) + 1)
        decay = 0.5 ** ((distances - 1) / parameters.half_life)
        self._offsets = np.concatenate([distances, -distances])
        self._shares = np.concatenate([decay, decay * parameters.backward]).astype(np.float32)

    @property
    def per_like(self) -> int:
        """Pairs looked at for each like, at least 1."""
        return max(len(self._offsets), 1)

    def summed(self, places: I64, first: int, last: int) -> sp.csr_matrix:
        """Returns the summed weights from items `first` to `last`, CSR (last - first, items), columns ascending.

        Args:
            places: where the likes of these items are in the sequence, item by item.
            first: the first item.
            last: the item after the last one.

        """
        step = max(_PAIRS // self.per_like, 1)
        total = self._part(places[:step], first, last)
        for start in range(step, len(places), step):
            total = total + self._part(places[start : start + step], first, last)
        total.sort_indices()
        return total

    def _part(self, places: I64, first: int, last: int) -> sp.csr_matrix:
        import scipy.sparse as sp

        others = places[:, None] + self._offsets[None, :]
        inside = (others >= 0) & (others < len(self._sequence))
        np.clip(others, 0, max(len(self._sequence) - 1, 0), out=others)
        row, column = np.nonzero(inside & (self._users[others] == self._users[places][:, None]))
        here, there = places[row], others[row, column]
        gaps = np.abs(self._times[there] - self._times[here])
        weights = self._shares[column] * (0.5 ** (gaps / self._gap_half_life)).astype(np.float32)
        items = self._sequence[here] - first, self._sequence[there]
        return sp.csr_matrix((weights, items), shape=(last - first, self._n_items))


def _blocks(bounds: I64, most: int) -> Iterator[tuple[int, int]]:
    """Yields consecutive stretches of items with at most `most` likes together; one item may have more alone."""
    n_items = len(bounds) - 1
    first = 0
    while first < n_items:
        last = int(np.searchsorted(bounds, bounds[first] + most, side="right")) - 1
        last = min(max(last, first + 1), n_items)
        yield first, last
        first = last


def _largest(block: sp.csr_matrix, keep: int) -> sp.csr_matrix:
    """Returns the `keep` largest entries above 0 of each row; of equal ones the lower column."""
    import scipy.sparse as sp

    chosen = block.data > 0
    for row in np.flatnonzero(np.diff(block.indptr) > keep).tolist():
        own = slice(block.indptr[row], block.indptr[row + 1])
        mine = np.zeros(own.stop - own.start, bool)
        mine[best_places(block.indices[own], block.data[own], keep)] = True
        chosen[own] &= mine
    lengths = np.diff(np.concatenate([[0], np.cumsum(chosen)])[block.indptr])
    indptr = np.concatenate([[0], np.cumsum(lengths)])
    return sp.csr_matrix((block.data[chosen], block.indices[chosen], indptr), shape=block.shape)
