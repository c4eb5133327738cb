"""The n best of many scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.ports import Proposal

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64


def best(rows: I64, scores: F32, n: int) -> Proposal:
    """Returns the `n` best of these rows; of equal scores the lower row first."""
    if n < len(rows):
        # All that equal the n-th score are kept until the stable sort has decided between them.
        threshold = np.partition(scores, len(scores) - n)[len(scores) - n]
        kept = scores >= threshold
        rows, scores = rows[kept], scores[kept]
    order = np.lexsort((rows, -scores))[:n]
    return Proposal(rows[order], scores[order])
