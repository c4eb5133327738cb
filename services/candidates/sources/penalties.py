"""How much the L2 penalty of a user or an item weighs, by its number of likes."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from services.candidates.arrays import F64

RATIO = 1.25
"""Numbers of likes that differ by less than this share a weight: rows of one weight are solved in one go."""


@dataclass(frozen=True)
class PenaltyWeights:
    """weight(n) = level(n)^power / mean, with level(n) the largest power of `RATIO` that is not above n.

    Rendle, Krichene, Zhang and Koren: Revisiting the Performance of iALS on Item Recommendation Benchmarks, 2021, with
    their alpha0 = 0; power 1 is ALS-WR (Zhou et al., 2008). Divided by the mean over the rows with likes, so that the
    penalty means the same whatever the power.
    """

    power: float = 0.0
    mean: float = 1.0

    @classmethod
    def fit(cls, counts: NDArray[Any], power: float) -> PenaltyWeights:
        """Returns the weights whose mean over these numbers of likes, (rows,), is 1; rows without likes do not count.

        With power 0, and without any like, every weight is 1.
        """
        active = counts[counts > 0]
        if not power or not len(active):
            return cls()
        return cls(power, float(cls(power).of(active).mean()))

    def of(self, counts: NDArray[Any]) -> F64:
        """Returns the weights of rows with these numbers of likes, float64 (rows,); without likes as with one."""
        levels = np.floor(np.log(np.maximum(counts, 1)) / math.log(RATIO))
        weights: F64 = RATIO ** (self.power * levels) / self.mean
        return weights

    def of_one(self, count: int) -> float:
        """Returns the weight of a row with this number of likes."""
        if not self.power:
            return 1 / self.mean
        return float(self.of(np.array([count]))[0])
