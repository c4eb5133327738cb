"""A linear model whose weights depend, smoothly, on how much is known of the user.

For items that CF knows, score = sum over features j of z_j * (w_j + sum over knots k of g_k * v_kj); for items that
it does not know, sum of z_j * n_j, and an intercept. z is the standardised value (0 when missing, cut at 4), g are hat
functions of the history's length that sum to 1. Fitted by L-BFGS with the listwise softmax loss (ListNet, Cao et al.
2007, top-one form) and L2, preconditioned by the curvature at zero weights. Everything is linear in z for a given user
and item, so contributions are exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.optimize import minimize

from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingLists
    from services.ranker.items.arrays import F32, Mask

FILE = "linear.npz"
MAX_Z = 4.0
KNOTS = np.log1p(np.array([1, 4, 10, 40, 200], dtype=np.float32))
"""Places of the hat functions, log(1 + events)."""
USER_FEATURES = ("history_events", "history_likes", "history_like_share", "history_mean_rating")
"""The same for all candidates of a list: they steer the weights and add nothing themselves."""
GATE, KNOWN = "history_events", "has_cf"
SAMPLE_ROWS = 20_000
"""Rows, about, that the curvature is estimated from: it only has to be near."""


class LinearFusion:
    """See the module's text."""

    name: ClassVar[str] = "linear"
    description: ClassVar[str] = "Linear in the features, weights gated by the history's length; listwise softmax loss"

    def __init__(self, l2: float = 30.0, iterations: int = 15) -> None:
        self._l2 = l2
        self._iterations = iterations
        self._mean: F32 = np.zeros(0, dtype=np.float32)
        self._scale: F32 = np.ones(0, dtype=np.float32)
        self._weights: F32 = np.zeros((0, 0), dtype=np.float32)
        self._gate = 0
        self._known = 0
        self._learned_from: RankingLists | None = None

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights; `validation` is not needed: the loss is convex and the L2 fixed."""
        del validation
        self.refit(train, names)

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights from all lists; does nothing for the very lists that it learned from last."""
        if lists is self._learned_from:
            return
        self._gate, self._known = names.index(GATE), names.index(KNOWN)
        used = np.array([name not in (*USER_FEATURES, KNOWN) for name in names])
        seen = ~np.isnan(lists.features)
        counts = np.maximum(seen.sum(axis=0), 1)
        mean = np.where(seen, lists.features, 0).sum(axis=0, dtype=np.float64) / counts
        variance = (np.where(seen, lists.features - mean, 0) ** 2).sum(axis=0, dtype=np.float64) / counts
        self._mean = mean.astype(np.float32)
        self._scale = np.where(used, 1 / np.maximum(np.sqrt(variance), 1e-4), 0).astype(np.float32)
        values = self._standard(lists.features)
        values[:, ~used] = 0
        # `has_cf` stands for the intercept: 1 where CF does not know the item.
        known = lists.features[:, self._known] > 0
        values[:, self._known] = ~known
        gates = self._gates(lists.features, known)
        self._weights = _fit_softmax(values, gates, lists, self._l2, self._iterations)
        self._learned_from = lists

    def predict(self, features: F32) -> F32:
        """Returns scores; see `FusionFunction`."""
        return np.asarray(self.contributions(features)[1].sum(axis=1), dtype=np.float32)

    def contributions(self, features: F32) -> tuple[float, F32]:
        """Returns 0 and what each feature adds; `has_cf` carries the intercept of items that CF does not know."""
        known = features[:, self._known] > 0
        values = self._standard(features)
        values[:, self._known] = ~known
        return 0.0, values * (self._gates(features, known) @ self._weights)

    def save(self, folder: Path) -> None:
        """Writes one file."""
        np.savez(
            folder / FILE,
            mean=self._mean,
            scale=self._scale,
            weights=self._weights,
            places=np.array([self._gate, self._known]),
        )

    @classmethod
    def load(cls, folder: Path) -> LinearFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        own = cls()
        try:
            with np.load(folder / FILE) as stored:
                own._mean, own._scale, own._weights = stored["mean"], stored["scale"], stored["weights"]
                own._gate, own._known = (int(place) for place in stored["places"])
        except (OSError, ValueError, KeyError) as error:
            raise CorruptData(f"{FILE} cannot be read") from error
        return own

    def _standard(self, features: F32) -> F32:
        values = np.clip((features - self._mean) * self._scale, -MAX_Z, MAX_Z)
        return np.asarray(np.nan_to_num(values, nan=0.0), dtype=np.float32)

    def _gates(self, features: F32, known: Mask) -> F32:
        """Returns how much each row of weights counts: float32 (n, knots + 2), for known items first."""
        own = known[:, None].astype(np.float32)
        return np.hstack([own, own * _hats(features[:, self._gate]), 1 - own])


def _hats(gate: F32) -> F32:
    """Returns the hat functions on `KNOTS`: float32 (n, knots), each row with sum 1."""
    inside = np.clip(np.nan_to_num(gate, nan=0.0), KNOTS[0], KNOTS[-1])
    right = np.clip(np.searchsorted(KNOTS, inside), 1, len(KNOTS) - 1)
    share = (inside - KNOTS[right - 1]) / (KNOTS[right] - KNOTS[right - 1])
    hats = np.zeros((len(gate), len(KNOTS)), dtype=np.float32)
    every = np.arange(len(gate))
    hats[every, right - 1] = 1 - share
    hats[every, right] = share
    return hats


def _fit_softmax(values: F32, gates: F32, lists: RankingLists, l2: float, iterations: int) -> F32:
    """Returns weights, float32 (gates, features), that minimise the softmax loss.

    The loss is the mean over lists of -sum p log softmax(score), p the labels at sum 1, plus l2 / 2n |w|^2.
    """
    starts, of_row, count = lists.starts, lists.list_of_row, len(lists.sizes)
    positives = np.maximum(np.add.reduceat(lists.labels, starts), 1)
    weights = lists.weights * np.sqrt(positives)
    weights = (weights / weights.mean()).astype(np.float32)
    of_rows = weights[of_row]
    wanted = lists.labels / positives[of_row] * of_rows
    shape = (gates.shape[1], values.shape[1])
    # The features say much the same, so the plain loss is a narrow valley. In u, with w = root^-T u, it is round.
    root = np.linalg.cholesky(
        _curvature(values, gates, lists.sizes, weights) + l2 / count * np.eye(shape[0] * shape[1])
    )
    unrooted = np.linalg.inv(root)

    def loss(moved: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        flat = moved @ unrooted
        own = flat.reshape(shape).astype(np.float32)
        scores = np.einsum("ng,ng->n", gates, values @ own.T)
        top = np.maximum.reduceat(scores, starts)
        raised = np.exp(scores - top[of_row])
        total = np.add.reduceat(raised, starts)
        value = float(weights @ (np.log(total) + top) - wanted @ scores)
        rest = raised * (weights / total)[of_row] - wanted
        slope = ((gates * rest[:, None]).T @ values).astype(np.float64).ravel()
        return value / count + 0.5 * l2 / count * float(flat @ flat), unrooted @ (slope / count + l2 / count * flat)

    start = np.zeros(shape[0] * shape[1])
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return np.asarray(found.x @ unrooted, dtype=np.float32).reshape(shape)


def _curvature(values: F32, gates: F32, sizes: NDArray[np.int64], weights: F32) -> NDArray[np.float64]:
    """Returns the Hessian of the loss at zero weights, float64 (gates * features, gates * features), from a sample.

    There it is the weighted mean over lists of the covariance of gates x values within a list.
    """
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    step = max(len(values) // SAMPLE_ROWS, 1)
    chosen = np.arange(0, len(sizes), step)
    total = np.zeros((gates.shape[1] * values.shape[1],) * 2)
    for start, size, weight in zip(starts[chosen], sizes[chosen], weights[chosen], strict=True):
        rows = slice(int(start), int(start + size))
        products = (gates[rows, :, None] * values[rows, None, :]).reshape(int(size), -1)
        products -= products.mean(axis=0)
        products *= np.sqrt(weight / size)
        total += products.T @ products
    return total / len(chosen)
