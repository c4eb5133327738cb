"""A ranking SVM: the gated linear model (`gated.py`), fitted with the pairwise squared hinge (`pairs.py`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.optimize import minimize

from services.ranker.fusion.gated import GatedLinear
from services.ranker.fusion.linear import curvature
from services.ranker.fusion.pairs import Pairs
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingInput, RankingLists
    from services.ranker.items.arrays import F32

FILE = "svm.npz"


class SvmFusion:
    """See the module's text."""

    name: ClassVar[str] = "svm"
    description: ClassVar[str] = "Linear ranking SVM: pairwise squared hinge, weights gated by the history's length"

    def __init__(self, l2: float = 60.0, iterations: int = 15) -> None:
        """`l2` is the penalty |w|^2 l2 / (2 lists); it stands for 1 / C."""
        self._l2 = l2
        self._iterations = iterations
        self._model: GatedLinear | None = None
        self._lists = 0

    @property
    def model(self) -> GatedLinear:
        """What was learned; raises CorruptData when nothing was."""
        if self._model is None:
            raise CorruptData("the svm fusion has not been fitted")
        return self._model

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights; `validation` is not needed: the loss is convex and the penalty fixed."""
        del validation
        self.refit(train, names)

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights from all lists."""
        start = GatedLinear.of(lists.features, names)
        self._model = start.with_weights(fit_hinge(start, lists, self._l2, self._iterations))
        self._lists = len(lists.sizes)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Moves the weights to what the new lists say, held back by as many lists as have been learned from."""
        del names
        moved = fit_hinge(self.model, lists, self._l2, self._iterations, known_lists=self._lists)
        self._model = self.model.with_weights(moved)
        self._lists += len(lists.sizes)

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        return self.model.predict(inputs.features)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns 0 and what each feature adds, exactly."""
        return 0.0, self.model.contributions(inputs.features)

    def save(self, folder: Path) -> None:
        """Writes one file."""
        self.model.save(folder / FILE, lists=np.array(self._lists))

    @classmethod
    def load(cls, folder: Path) -> SvmFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        own = cls()
        own._model, more = GatedLinear.load(folder / FILE)
        own._lists = int(more.get("lists", np.array(0)))
        return own


def fit_hinge(model: GatedLinear, lists: RankingLists, l2: float, iterations: int, known_lists: int = 0) -> F32:
    """Returns weights, float32 (gates, features), of least hinge; beginnings and penalties as in `fit_softmax`."""
    values, gates = model.design(lists.features)
    pairs = Pairs.of(lists)
    count, shape = len(lists.sizes), (gates.shape[1], values.shape[1])
    root = np.linalg.cholesky(
        curvature(values, gates, lists.sizes, lists.weights) + l2 / count * np.eye(shape[0] * shape[1])
    )
    unrooted = np.linalg.inv(root)
    before = model.weights.astype(np.float64).ravel() @ root
    held = known_lists / count

    def loss(moved: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        flat = moved @ unrooted
        own = flat.reshape(shape).astype(np.float32)
        value, rest = pairs.loss(np.einsum("ng,ng->n", gates, values @ own.T))
        slope = unrooted @ ((gates * rest[:, None]).T @ values).astype(np.float64).ravel()
        if known_lists:
            away = moved - before
            return value + 0.5 * held * float(away @ away), slope + held * away
        return value + 0.5 * l2 / count * float(flat @ flat), slope + unrooted @ (l2 / count * flat)

    found = minimize(loss, before, jac=True, method="L-BFGS-B", options={"maxiter": iterations})
    return np.asarray(found.x @ unrooted, dtype=np.float32).reshape(shape)
