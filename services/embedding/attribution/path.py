"""Integration along a path, split where it is needed, with an error that is known and not estimated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

NODES = np.array([0.0, 0.5 - np.sqrt(3 / 28), 0.5, 0.5 + np.sqrt(3 / 28), 1.0])
"""Gauss-Lobatto nodes of five points on [0, 1]: both ends are among them; exact for polynomials up to degree 7."""
WEIGHTS = np.array([1 / 20, 49 / 180, 16 / 45, 49 / 180, 1 / 20])
FIRST_PIECES = 4


@dataclass(frozen=True)
class Evaluated:
    """Value and gradient of a function at points of the path."""

    values: NDArray[np.float64]
    """Shape (points,)."""
    gradients: NDArray[np.float64]
    """Shape (points, tokens): derivative by the presence of each token."""


@dataclass(frozen=True)
class Integral:
    """The integral of the gradient over the path, float64 (tokens,), and how many points it took."""

    parts: NDArray[np.float64]
    points: int


def integrate(evaluate: Callable[[NDArray[np.float64]], Evaluated], tolerance: float, max_points: int) -> Integral:
    """Returns the gradient's integral from 0 to 1.

    By the fundamental theorem of calculus the parts of a piece sum to the change of the function over it. Since the
    ends of a piece are among its nodes, the error of every piece is known exactly: pieces are halved until each is
    within its share of `tolerance`, or `max_points` are used up.

    Args:
        evaluate: value and gradient at points of [0, 1], shape (points,) of them.
        tolerance: absolute error of the sum of all parts that is accepted.
        max_points: points evaluated at most; the first pass of 20 is always made.

    """
    pieces = [(n / FIRST_PIECES, (n + 1) / FIRST_PIECES) for n in range(FIRST_PIECES)]
    parts: NDArray[np.float64] | float = 0.0
    points = 0
    while pieces:
        found = evaluate(np.concatenate([start + (end - start) * NODES for start, end in pieces]))
        points += len(found.values)
        values = found.values.reshape(len(pieces), len(NODES))
        gradients = found.gradients.reshape(len(pieces), len(NODES), -1)
        widths = np.array([end - start for start, end in pieces])
        sums = np.einsum("pnt,n,p->pt", gradients, WEIGHTS, widths)
        errors = np.abs(sums.sum(axis=1) - (values[:, -1] - values[:, 0]))
        wrong = errors > tolerance * widths
        # The worst pieces first, as many as there are points left for.
        room = max((max_points - points) // (2 * len(NODES)), 0)
        halved = [int(n) for n in np.argsort(-errors) if wrong[n]][:room]
        kept = np.setdiff1d(np.arange(len(pieces)), halved)
        parts = parts + sums[kept].sum(axis=0)
        pieces = [half for n in halved for half in _halves(*pieces[n])]
    return Integral(np.asarray(parts, np.float64), points)


def _halves(start: float, end: float) -> tuple[tuple[float, float], tuple[float, float]]:
    middle = (start + end) / 2
    return (start, middle), (middle, end)
