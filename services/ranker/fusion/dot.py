"""The plain inner product of user and item, yhat^T y: nothing is learned but a scale.

The user's vector is (CF factors / s_cf, CF factors that the texts of the likes stand for / s_text), the item's is (its
factors, the factors that its own text is mapped to). Their inner product is als_score / s_cf + aligned_text_score /
s_text: what the sources `als` and `aligned_text` give. s are the standard deviations over the training lists, so that
both parts are on one scale; a part that is missing adds 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from services.ranker.fusion.gated import load_arrays
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.fusion.base import RankingInput, RankingLists
    from services.ranker.items.arrays import F32

FILE = "dot.npz"
PARTS = ("als_score", "aligned_text_score")
MIN_SPREAD = 1e-6


class DotFusion:
    """See the module's text."""

    name: ClassVar[str] = "dot"
    description: ClassVar[str] = "The plain inner product of user and item in the CF and in the aligned text space"

    def __init__(self) -> None:
        self._columns: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self._scales: F32 = np.zeros(0, dtype=np.float32)

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Reads the scales off the lists."""
        del validation
        self.refit(train, names)

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Reads the scales off the lists."""
        self._columns = np.array([names.index(name) for name in PARTS])
        values = lists.features[:, self._columns].astype(np.float64)
        seen = ~np.isnan(values)
        counts = np.maximum(seen.sum(axis=0), 1)
        means = np.where(seen, values, 0).sum(axis=0) / counts
        spread = np.sqrt((np.where(seen, values - means, 0) ** 2).sum(axis=0) / counts)
        self._scales = (1 / np.maximum(spread, MIN_SPREAD)).astype(np.float32)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Keeps the scales: there is nothing else that could go on learning."""

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        return np.asarray(self._parts(inputs.features).sum(axis=1), dtype=np.float32)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns 0 and the two parts, exactly."""
        out = np.zeros_like(inputs.features)
        out[:, self._columns] = self._parts(inputs.features)
        return 0.0, out

    def save(self, folder: Path) -> None:
        """Writes one file."""
        np.savez(folder / FILE, columns=self._columns, scales=self._scales)

    @classmethod
    def load(cls, folder: Path) -> DotFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        arrays = load_arrays(folder / FILE)
        if not {"columns", "scales"} <= arrays.keys():
            raise CorruptData(f"{FILE} cannot be read")
        own = cls()
        own._columns, own._scales = arrays["columns"].astype(np.int64), arrays["scales"]
        return own

    def _parts(self, features: F32) -> F32:
        if not len(self._columns):
            raise CorruptData("the dot fusion has not been fitted")
        return np.nan_to_num(features[:, self._columns], nan=0.0) * self._scales
