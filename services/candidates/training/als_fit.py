"""`implicit`'s ALS with a penalty that depends on the number of likes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares

from services.candidates.sources.penalties import PenaltyWeights

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    import scipy.sparse as sp

    from services.candidates.arrays import F32


class ScaledAls(AlternatingLeastSquares):  # type: ignore[misc]  # it has no types
    """Multiplies the penalty of each row by its weight (`sources/penalties.py`); with power 0 it is its base class.

    `implicit` takes one penalty per call of its solver: rows of one weight are solved together. Each call multiplies
    the other side's factors with themselves anew, which is what other powers than 0 cost.
    """

    def __init__(self, penalty_power: float, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._penalty_power = penalty_power

    @property
    def solver(self) -> Callable[..., None]:
        """What solves a half-step in place, as the base class calls it."""
        if not self._penalty_power:
            whole: Callable[..., None] = super().solver
            return whole
        return self._solve_by_weight

    def _solve_by_weight(
        self, confidences: sp.csr_matrix, solved: F32, fixed: F32, regularization: float, num_threads: int = 0
    ) -> None:
        """Solves for the rows of `solved`, (rows, factors); confidences are float32 CSR (rows, rows of `fixed`)."""
        solve = super().solver
        counts = np.diff(confidences.indptr)
        weights = PenaltyWeights.fit(counts, self._penalty_power).of(counts)
        for weight in np.unique(weights):
            rows = np.flatnonzero(weights == weight)
            own = solved[rows]
            solve(confidences[rows], own, fixed, regularization * weight, num_threads=num_threads)
            solved[rows] = own
