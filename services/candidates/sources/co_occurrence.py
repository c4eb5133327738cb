"""Which items are liked together: the product of a matrix of likes with itself, a block of items at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.item_weights import largest

if TYPE_CHECKING:
    from collections.abc import Iterator

    import scipy.sparse as sp

    from services.candidates.arrays import I64
    from services.candidates.training.likes import Likes

BLOCK_PRODUCTS = 1 << 23
"""Products of a block: what a block has entries at most, and so what it needs of memory (12 bytes each)."""


def newest_likes(likes: Likes, limit: int) -> sp.csr_matrix:
    """Returns the likes, float32 CSR (users, items), with the `limit` newest of each user.

    The number of pairs grows with the square of a user's likes: one user with 100,000 of them would make 10^10.
    """
    import scipy.sparse as sp

    matrix = likes.matrix
    lengths = np.diff(matrix.indptr)
    if not len(lengths) or lengths.max() <= limit:
        return matrix
    ends = np.repeat(matrix.indptr[1:], lengths)
    # `sequence` has the same users in the same places, each one's likes the oldest first.
    recent = np.arange(matrix.nnz) >= ends - limit
    users = np.repeat(np.arange(len(lengths)), lengths)
    kept = sp.csr_matrix(
        (np.ones(int(recent.sum()), np.float32), (users[recent], likes.sequence[recent])), shape=matrix.shape
    )
    result = matrix.multiply(kept).tocsr()
    result.sort_indices()
    return result.astype(np.float32)


def co_occurrence_blocks(matrix: sp.csr_matrix) -> Iterator[tuple[int, sp.csr_matrix]]:
    """Yields the rows of matrix' matrix: the first item of a block, and its CSR (items of the block, items).

    Sums are float64, columns ascending; an item's own column is among them. A block makes at most `BLOCK_PRODUCTS`
    products, or is one item: memory is bounded by that and by the matrix, time by the users' likes squared.
    """
    import scipy.sparse as sp

    by_item = sp.csr_matrix(matrix.T.astype(np.float64))
    matrix = matrix.astype(np.float64)
    lengths = np.diff(matrix.indptr).astype(np.float64)
    work = np.concatenate(
        [
            [0],
            np.cumsum(
                np.bincount(matrix.indices, np.repeat(lengths, np.diff(matrix.indptr)), minlength=matrix.shape[1])
            ),
        ]
    )
    start = 0
    while start < matrix.shape[1]:
        end = max(int(np.searchsorted(work, work[start] + BLOCK_PRODUCTS, side="right")) - 1, start + 1)
        block = (by_item[start:end] @ matrix).tocsr()
        block.sort_indices()
        yield start, block
        start = end


def strongest(block: sp.csr_matrix, keep: int) -> tuple[I64, I64]:
    """Returns which entries of a block stay when every row keeps its `keep` largest.

    Two int64 arrays: the places of the entries, ascending, and the block's row of each.
    """
    lengths = np.diff(block.indptr)
    kept = np.ones(block.nnz, bool)
    for row in np.flatnonzero(lengths > keep).tolist():
        part = slice(block.indptr[row], block.indptr[row + 1])
        kept[part] = largest(block.data[part], keep)
    places = np.flatnonzero(kept)
    return places, np.repeat(np.arange(len(lengths)), lengths)[places]
