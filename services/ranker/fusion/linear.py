"""The gated linear model (`gated.py`), fitted with the listwise softmax loss.

ListNet (Cao et al. 2007), top-one form, with L2, by L-BFGS preconditioned by the curvature at zero weights.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.optimize import minimize

from services.ranker.fusion.gated import GatedLinear
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingInput, RankingLists
    from services.ranker.items.arrays import F32

FILE = "linear.npz"
SAMPLE_ROWS = 8_000
"""Rows, about, that the curvature is estimated from: it only has to be near."""


class LinearFusion:
    """See the module's text."""

    name: ClassVar[str] = "linear"
    description: ClassVar[str] = "Linear in the features, weights gated by the history's length; listwise softmax loss"

    def __init__(self, l2: float = 30.0, iterations: int = 15) -> None:
        self._l2 = l2
        self._iterations = iterations
        self._model: GatedLinear | None = None
        self._lists = 0
        self._learned_from: RankingLists | None = None

    @property
    def model(self) -> GatedLinear:
        """What was learned.

        Raises:
            CorruptData: nothing was.

        """
        if self._model is None:
            raise CorruptData("the linear fusion has not been fitted")
        return self._model

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights; `validation` is not needed: the loss is convex and the L2 fixed."""
        del validation
        self.refit(train, names)

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights from all lists; does nothing for the very lists that it learned from last."""
        if lists is self._learned_from:
            return
        start = GatedLinear.of(lists.features, names)
        self._model = start.with_weights(fit_softmax(start, lists, self._l2, self._iterations))
        self._learned_from, self._lists = lists, len(lists.sizes)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Moves the weights to what the new lists say, held back by as many lists as have been learned from."""
        del names
        if lists is self._learned_from:
            return
        moved = fit_softmax(self.model, lists, self._l2, self._iterations, known_lists=self._lists)
        self._model = self.model.with_weights(moved)
        self._learned_from, self._lists = lists, self._lists + len(lists.sizes)

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        return self.model.predict(inputs.features)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns 0 and what each feature adds; `has_cf` carries the intercept of items that CF does not know."""
        return 0.0, self.model.contributions(inputs.features)

    def save(self, folder: Path) -> None:
        """Writes one file."""
        self.model.save(folder / FILE, lists=np.array(self._lists))

    @classmethod
    def load(cls, folder: Path) -> LinearFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        own = cls()
        own._model, more = GatedLinear.load(folder / FILE)
        own._lists = int(more.get("lists", np.array(0)))
        return own


def fit_softmax(model: GatedLinear, lists: RankingLists, l2: float, iterations: int, known_lists: int = 0) -> F32:
    """Returns weights, float32 (gates, features), that minimise the softmax loss.

    The loss is the mean over lists of -sum p log softmax(score), p the labels at sum 1, plus l2 / 2n |w|^2. With
    `known_lists`, the second term is what that many lists said: their curvature, taken to be that of the new ones,
    around the weights that were learned from them (the Laplace approximation).
    """
    values, gates = model.design(lists.features)
    starts, of_row, count = lists.starts, lists.list_of_row, len(lists.sizes)
    positives = np.maximum(np.add.reduceat(lists.labels, starts), 1)
    weights = lists.weights * np.sqrt(positives)
    weights = (weights / weights.mean()).astype(np.float32)
    of_rows = weights[of_row]
    wanted = lists.labels / positives[of_row] * of_rows
    shape = (gates.shape[1], values.shape[1])
    # The features say much the same, so the plain loss is a narrow valley. In u, with w = root^-T u, it is round.
    root = np.linalg.cholesky(curvature(values, gates, lists.sizes, weights) + l2 / count * np.eye(shape[0] * shape[1]))
    unrooted = np.linalg.inv(root)
    before = model.weights.astype(np.float64).ravel() @ root
    held = known_lists / count

    def loss(moved: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        flat = moved @ unrooted
        own = flat.reshape(shape).astype(np.float32)
        scores = np.einsum("ng,ng->n", gates, values @ own.T)
        top = np.maximum.reduceat(scores, starts)
        raised = np.exp(scores - top[of_row])
        total = np.add.reduceat(raised, starts)
        value = float(weights @ (np.log(total) + top) - wanted @ scores) / count
        rest = raised * (weights / total)[of_row] - wanted
        slope = unrooted @ ((gates * rest[:, None]).T @ values).astype(np.float64).ravel() / count
        if known_lists:
            away = moved - before
            return value + 0.5 * held * float(away @ away), slope + held * away
        return value + 0.5 * l2 / count * float(flat @ flat), slope + unrooted @ (l2 / count * flat)

    found = minimize(loss, before, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return np.asarray(found.x @ unrooted, dtype=np.float32).reshape(shape)


def curvature(values: F32, gates: F32, sizes: NDArray[np.int64], weights: F32) -> NDArray[np.float64]:
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
