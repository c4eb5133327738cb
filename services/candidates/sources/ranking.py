"""The n best of many scores."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.ports import Proposal

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.candidates.arrays import F32, I32, I64


def best(rows: I64, scores: F32, n: int) -> Proposal:
    """Returns the `n` best of these rows; of equal scores the lower row first."""
    places = best_places(rows, scores, n)
    return Proposal(rows[places], scores[places])


def best_places(rows: I32 | I64, scores: NDArray[Any], n: int) -> I64:
    """Returns where in `rows` the `n` best are, best first; of equal scores the lower row first."""
    if n < len(rows):
        # All that equal the n-th score are kept until the stable sort has decided between them.
        threshold = np.partition(scores, len(scores) - n)[len(scores) - n]
        places = np.flatnonzero(scores >= threshold)
    else:
        places = np.arange(len(rows))
    order: I64 = np.lexsort((rows[places], -scores[places]))[:n]
    return places[order]
