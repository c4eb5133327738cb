"""The vector spaces of one version and what is kept of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64
    from services.candidates.ports import IndexFactory, VectorIndex

CF = "cf"
CONTENT = "content"
SPACES = (CF, CONTENT)
"""Spaces that callers can ask for by name; the first is the default."""


class Spaces:
    """All vectors of one version.

    `cf` holds learned ALS factors, mapped vectors where there are none: searched with users. `mapped` holds the
    mapped vector of every item: what text alone says, also of items with factors. `similar` holds, by space, the
    vectors at length 1, so that inner products are cosines.
    """

    def __init__(self, make_index: IndexFactory, cf_dim: int, content_dim: int) -> None:
        self.cf: VectorIndex = make_index(cf_dim)
        self.mapped: VectorIndex = make_index(cf_dim)
        self.similar: dict[str, VectorIndex] = {CF: make_index(cf_dim), CONTENT: make_index(content_dim)}

    def put(self, rows: I64, learned: F32, mapped: F32, content: F32) -> None:
        """Adds or replaces rows; each array is (len(rows), dim), NaN rows where there is no vector."""
        cf = np.where(np.isnan(learned[:, :1]), mapped, learned)
        _replace(self.cf, rows, cf)
        _replace(self.mapped, rows, mapped)
        _replace(self.similar[CF], rows, unit(cf))
        _replace(self.similar[CONTENT], rows, unit(content))

    def remove(self, rows: I64) -> None:
        """Takes rows out of every index."""
        for index in (self.cf, self.mapped, *self.similar.values()):
            index.remove(rows)


def unit(vectors: F32) -> F32:
    """Returns the vectors at length 1; NaN rows for those whose length is 0 or not a normal float32 number."""
    # Summed in float64: squares of float32 numbers can be too small or too large for float32.
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    with np.errstate(over="ignore"):
        lengths = np.sqrt(squares).astype(np.float32)
    usable = np.isfinite(lengths) & (lengths >= np.finfo(np.float32).tiny)
    return np.asarray(vectors / np.where(usable, lengths, np.nan)[:, None], np.float32)


def _replace(index: VectorIndex, rows: I64, vectors: F32) -> None:
    has = np.asarray(~np.isnan(vectors).any(axis=1))
    index.remove(rows[~has])
    index.put(rows[has], vectors[has])
