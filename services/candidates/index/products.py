"""Inner products with one query."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.candidates.arrays import F32


def products_of(vectors: F32, query: F32) -> F32:
    """Returns the inner product of the query, (dim,), with each vector, (rows, dim).

    Raises:
        ValueError: one of them is not finite, so that there is no order.

    """
    with np.errstate(over="ignore", invalid="ignore"):
        scores: F32 = vectors @ query
    return checked(scores)


def checked(scores: F32) -> F32:
    """Returns the inner products.

    Raises:
        ValueError: one of them is not finite, so that there is no order.

    """
    if not np.isfinite(scores).all():
        raise ValueError("the query has no finite inner product with some vectors: there is no order")
    return scores
