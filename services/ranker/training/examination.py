"""How likely a shown item is looked at, by its position, and what a taken item weighs for it.

The position-based model: P(taken) = examined(position) * relevant(user, item). log relevant is modelled as linear in
the features, up to a constant of each list, log examined as a number per position. Both are fitted at once by the cross
entropy of what was taken against softmax(features . w + log examined) within the list, the additive two-tower click
model (Yan et al., "Revisiting two-tower models for unbiased learning to rank", SIGIR 2022). With E[taken] as above that
loss is least at the true curve, however many rows of a list were taken. Lists of which nothing was taken add nothing to
it, so that they need not be read; regression-EM (Wang et al. 2018) does need them, and users who take equally often.

What was taken at position p then weighs 1 / examined(p) (Joachims, Swaminathan and Schnabel, "Unbiased
learning-to-rank with biased feedback", WSDM 2017), clipped, and scaled to mean 1 (self-normalised: Swaminathan and
Joachims 2015).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import minimize

from services.ranker.features.registry import NAMES
from services.ranker.fusion.gated import USER_FEATURES
from services.ranker.fusion.standard import Standard
from services.ranker.training.learned import stacked

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.ranker.training.learned import LearnedList

LAST_POSITIONS = (*range(1, 11), 15, 20, 30, 50)
"""Last positions of the steps of the curve; one more holds all beyond."""
MAX_WEIGHT = 10.0
"""A taken item weighs at most this many times one at the position that is looked at most."""
STEP_DEVIATION = 0.25
"""Prior standard deviation of the step of log examined from one position to the next: without evidence the
curve is flat, with little of it too flat rather than too steep."""
L2 = 3.0
"""Penalty of the features' weights: w^2 L2 / 2, beside one cross entropy per taken row."""
ITERATIONS = 200
MIN_EXPLORED = 200
"""From this many rows on that were taken of lists with chance in their order, the curve is read off these alone: there
the position does not follow from the features."""


@dataclass(frozen=True)
class Examination:
    """The curve: `examined`, float64 (steps,), of `LAST_POSITIONS` and beyond, the highest is 1.

    `lists` and `taken`: how many lists and taken rows it was read off; `explored`: of those with chance in them alone.
    """

    examined: NDArray[np.float64]
    lists: int = 0
    taken: int = 0
    explored: bool = False

    @classmethod
    def flat(cls) -> Examination:
        """Returns the curve of nothing known: all positions alike."""
        return cls(np.ones(len(LAST_POSITIONS) + 1))

    def at(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns how likely rows at these positions, from 1, are looked at: float64 (n,)."""
        return np.asarray(self.examined[np.searchsorted(LAST_POSITIONS, positions)])

    def weights(self, positions: NDArray[np.int64]) -> NDArray[np.float64]:
        """Returns what taken rows at these positions weigh, 1 to `MAX_WEIGHT`: float64 (n,)."""
        return np.minimum(1 / self.at(positions), MAX_WEIGHT)

    def by_position(self) -> tuple[tuple[int, float], ...]:
        """Returns the curve by the last position of each step, 0 for all beyond."""
        values = (round(float(value), 4) for value in self.examined)
        return tuple(zip((*LAST_POSITIONS, 0), values, strict=True))


def examination_of(shown: Sequence[LearnedList]) -> Examination:
    """Returns the curve of lists that were shown, fitted to the explored ones alone where they are enough."""
    explored = [one for one in shown if one.explored]
    enough = sum(float(one.labels.sum()) for one in explored) >= MIN_EXPLORED
    return _fitted(explored, explored=True) if enough else _fitted(shown, explored=False)


def by_taken(shown: Sequence[LearnedList], examination: Examination, most: int) -> list[LearnedList]:
    """Returns a list for every row that was taken, all rows in it, weighing what its position says; the mean is 1.

    When there are more than `most`, that many of them, spread evenly.

    With one taken row a list, the weight of a list is that of the row: every fusion function reads it. The sum of these
    lists' losses is the loss of the whole list with each taken row weighted (Joachims et al. 2017).
    """
    taken = [(one, int(row)) for one in shown for row in np.flatnonzero(one.labels > 0)]
    if not taken:
        return []
    if len(taken) > most:
        taken = [taken[int(place)] for place in np.linspace(0, len(taken) - 1, most)]
    weights = examination.weights(np.array([one.positions[row] for one, row in taken]))
    weights = weights / weights.mean()
    return [
        replace(one, labels=_only(row, len(one.labels)), weight=float(weight))
        for (one, row), weight in zip(taken, weights, strict=True)
    ]


def _only(row: int, count: int) -> NDArray[np.float32]:
    labels = np.zeros(count, dtype=np.float32)
    labels[row] = 1
    return labels


def _fitted(shown: Sequence[LearnedList], *, explored: bool) -> Examination:
    if not shown:
        return Examination.flat()
    lists = stacked(shown)
    values = Standard.of(lists.features, NAMES, USER_FEATURES)(lists.features).astype(np.float64)
    values = values[:, values.any(axis=0)]
    steps = np.searchsorted(LAST_POSITIONS, np.concatenate([one.positions for one in shown]))
    count, width = len(LAST_POSITIONS) + 1, values.shape[1]
    starts, of_row = lists.starts, lists.list_of_row
    taken = lists.labels.astype(np.float64)
    of_list = np.add.reduceat(taken, starts)

    def loss(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, curve = flat[:width], flat[width:]
        scores = values @ weights + curve[steps]
        top = np.maximum.reduceat(scores, starts)
        raised = np.exp(scores - top[of_row])
        total = np.add.reduceat(raised, starts)
        rest = raised * (of_list / total)[of_row] - taken
        jumps = np.diff(curve) / STEP_DEVIATION**2
        value = float(of_list @ (np.log(total) + top) - taken @ scores)
        value += 0.5 * L2 * float(weights @ weights) + 0.5 * float(jumps @ np.diff(curve))
        slope = np.bincount(steps, rest, count) - np.diff(jumps, prepend=0, append=0)
        return value, np.concatenate([values.T @ rest + L2 * weights, slope])

    found = minimize(loss, np.zeros(width + count), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS})
    curve = found.x[width:]
    return Examination(np.exp(curve - curve.max()), len(shown), int(taken.sum()), explored)
