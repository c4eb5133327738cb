"""A ranking SVM with a Gaussian kernel, by random Fourier features (Rahimi and Recht 2007), fitted as `svm.py`.

phi_k(z) = sqrt(2 / D) cos(a_k + b_k), a = W z, W normal with variance 2 gamma, b uniform in [0, 2 pi): inner products
of phi are exp(-gamma |z - z'|^2) on average. The kernel also reads the user's features and which values are missing by
the mean, so that no gate is needed.

Contributions are integrated gradients (Sundararajan et al. 2017) from z = 0, which here have a closed form: along t z
the slope of phi_k is -sin(t a_k + b_k), and its integral is (cos(a_k + b_k) - cos(b_k)) / a_k. So they are exact. It
is computed as -sin(b_k + a_k / 2) sin(a_k / 2) / (a_k / 2), which is the same: the difference of two cosines would lose
all digits of float32 where a_k is small, and what is left would hang on how the batch was multiplied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy.optimize import minimize

from services.ranker.fusion.gated import load_arrays
from services.ranker.fusion.pairs import Pairs
from services.ranker.fusion.standard import Standard
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingInput, RankingLists
    from services.ranker.items.arrays import F32

FILE = "svm_rbf.npz"
_ARRAYS = ("mean", "scale", "directions", "phases", "weights")


class SvmRbfFusion:
    """See the module's text."""

    name: ClassVar[str] = "svm_rbf"
    description: ClassVar[str] = (
        "Ranking SVM with a Gaussian kernel, by random Fourier features; pairwise squared hinge"
    )

    def __init__(
        self, width: float = 0.25, l2: float = 0.3, dimensions: int = 384, iterations: int = 60, seed: int = 0
    ) -> None:
        """`width`: gamma times the number of features in use. `dimensions`: D. `l2`: penalty as in `svm.py`."""
        self._width = width
        self._l2 = l2
        self._dimensions = dimensions
        self._iterations = iterations
        self._seed = seed
        self._standard: Standard | None = None
        self._directions = np.zeros((0, 0), dtype=np.float32)
        self._phases = np.zeros(0, dtype=np.float32)
        self._weights = np.zeros(0, dtype=np.float32)
        self._lists = 0

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns the weights; `validation` is not needed: the loss is convex, width and penalty fixed."""
        del validation
        self.refit(train, names)

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Draws the features and learns the weights from all lists."""
        self._standard = Standard.of(lists.features, names)
        used = max(int((self._standard.scale > 0).sum()), 1)
        random = np.random.default_rng(self._seed)
        spread = np.sqrt(2 * self._width / used)
        self._directions = (spread * random.normal(size=(len(names), self._dimensions))).astype(np.float32)
        self._phases = random.uniform(0, 2 * np.pi, self._dimensions).astype(np.float32)
        self._weights = np.zeros(self._dimensions, dtype=np.float32)
        self._weights = self._fitted(lists, 0)
        self._lists = len(lists.sizes)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Moves the weights to what the new lists say; the old lists' say is their share of the penalty."""
        del names
        self._weights = self._fitted(lists, self._lists)
        self._lists += len(lists.sizes)

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        return np.asarray(self._features(self._own(inputs.features)) @ self._weights, dtype=np.float32)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns the score of z = 0 and the integrated gradients from there."""
        values = self._own(inputs.features)
        angles = values @ self._directions
        half = angles / 2
        # numpy's sinc(x) is sin(pi x) / (pi x), and 1 at 0.
        slopes = -np.sin(self._phases + half) * np.sinc(half / np.float32(np.pi))
        parts = (slopes * (self._factor * self._weights)) @ self._directions.T * values
        return float(self._factor * (np.cos(self._phases) @ self._weights)), parts.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes one file."""
        standard = self._own_standard()
        np.savez(
            folder / FILE,
            mean=standard.mean,
            scale=standard.scale,
            directions=self._directions,
            phases=self._phases,
            weights=self._weights,
            lists=np.array(self._lists),
        )

    @classmethod
    def load(cls, folder: Path) -> SvmRbfFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        arrays = load_arrays(folder / FILE)
        if not set(_ARRAYS) <= arrays.keys():
            raise CorruptData(f"{FILE} cannot be read")
        own = cls(dimensions=len(arrays["phases"]))
        own._standard = Standard(arrays["mean"], arrays["scale"])
        own._directions, own._phases, own._weights = arrays["directions"], arrays["phases"], arrays["weights"]
        own._lists = int(arrays.get("lists", np.array(0)))
        return own

    @property
    def _factor(self) -> np.float32:
        return np.float32(np.sqrt(2 / max(len(self._phases), 1)))

    def _own_standard(self) -> Standard:
        if self._standard is None:
            raise CorruptData("the svm_rbf fusion has not been fitted")
        return self._standard

    def _own(self, features: F32) -> F32:
        return self._own_standard()(features)

    def _features(self, values: F32) -> F32:
        angles = values @ self._directions
        angles += self._phases
        np.cos(angles, out=angles)
        angles *= self._factor
        return angles

    def _fitted(self, lists: RankingLists, known_lists: int) -> F32:
        features = self._features(self._own(lists.features))
        pairs = Pairs.of(lists)
        penalty = self._l2 / len(lists.sizes)
        before = self._weights.astype(np.float64)
        held = penalty * (1 + known_lists)

        def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value, rest = pairs.loss(features @ weights.astype(np.float32))
            slope = (rest @ features).astype(np.float64)
            away = weights - before if known_lists else weights
            strength = held if known_lists else penalty
            return value + 0.5 * strength * float(away @ away), slope + strength * away

        found = minimize(loss, before, jac=True, method="L-BFGS-B", options={"maxiter": self._iterations})
        return np.asarray(found.x, dtype=np.float32)
