"""Which type of index: by number and length of the vectors, and by memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from services.candidates.index.parameters import AUTO, FLAT, IVF, IVF_PQ

if TYPE_CHECKING:
    from services.candidates.index.parameters import IndexParameters

_FLOAT_BYTES = 4
_ROW_ID_BYTES = 8
_MIB = 1 << 20
_POINTS_PER_LIST = 30
_LEAST_FOR_CODES = 2_560
"""Ten vectors per code of a byte."""


def choose_type(count: int, dim: int, parameters: IndexParameters) -> str:
    """Returns the type for `count` vectors of length `dim`.

    Up to `flat_items` an exact scan takes less than a millisecond. Past that clusters (ivf) are the choice: the same
    recall as a graph (hnsw) in less time on vectors whose lengths differ, as those of a factorisation do, built
    in a tenth of the time, and a rebuild keeps the clusters. Past the memory budget, compressed ones (ivf_pq).

    """
    if parameters.type != AUTO:
        # Codes are learned of vectors: of too few there is nothing to learn, and no memory to save.
        return IVF if parameters.type == IVF_PQ and count < _LEAST_FOR_CODES else parameters.type
    if count <= parameters.flat_items:
        return FLAT
    # Lists hold the vectors; those as they came are mapped from the disk, and few of them are read.
    needed = count * (dim * _FLOAT_BYTES + _ROW_ID_BYTES)
    return IVF if needed <= parameters.memory_mb * _MIB else IVF_PQ


def number_of_lists(count: int, parameters: IndexParameters) -> int:
    """Returns the number of clusters for `count` vectors: enough vectors in each to be worth a centroid."""
    wanted = parameters.lists or round(4 * math.sqrt(count))
    return max(1, min(wanted, count // _POINTS_PER_LIST))


def code_bytes(dim: int, parameters: IndexParameters) -> int:
    """Returns the bytes per vector of ivf_pq: the largest divisor of `dim` that is not above what is wanted."""
    wanted = parameters.pq_m or max(1, dim // 2)
    return max(size for size in range(1, min(wanted, dim) + 1) if dim % size == 0)
