"""The port of fusion functions: s(u, i) = f(features of language model, CF and context)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32


@dataclass(frozen=True)
class RankingLists:
    """Lists to learn an order from.

    `features`: float32 (rows, features), NaN where missing. `labels`: float32 (rows,), 1 for what the user liked
    later, else 0. `sizes`: int64 (lists,), rows of each list, in order. `weights`: float32 (lists,).
    """

    features: F32
    labels: F32
    sizes: NDArray[np.int64]
    weights: F32

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each list: int64 (lists,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def list_of_row(self) -> NDArray[np.int64]:
        """The list of each row: int64 (rows,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


class FusionFunction(Protocol):
    """A learned order over candidates. `predict` and `contributions` may be called from several threads at once."""

    name: ClassVar[str]
    """Its variant name."""
    description: ClassVar[str]
    """What it is, in a line."""

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns from `train`; `validation` may stop or choose. `names` are the features' names, by column."""

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns again, from all lists, with what `fit` has chosen."""

    def predict(self, features: F32) -> F32:
        """Returns scores, higher is better: float32 (n,) for features of shape (n, len(names))."""

    def contributions(self, features: F32) -> tuple[float, F32]:
        """Returns the bias and what each feature adds: float32 (n, len(names)).

        bias + the sum of a row is the row's `predict`, within 1e-4 relative.
        """

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs into an existing folder."""

    @classmethod
    def load(cls, folder: Path) -> FusionFunction:
        """Returns what `save` wrote.

        Raises:
            CorruptData: the files cannot be read.

        """
