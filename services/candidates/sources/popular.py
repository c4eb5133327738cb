"""What many users liked: the answer for users that nothing is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.arrays import GrowingArray
from services.candidates.ports import Proposal
from services.candidates.sources.ranking import best_places

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.profile import Profile


class PopularSource:
    """Items by ln(1 + likes). Live: `add` counts a like of now."""

    name = "popular"
    proposes = True
    description = "natural logarithm of 1 + the number of likes"

    def __init__(self, likes: I64) -> None:
        self._likes = GrowingArray(likes.astype(np.int64), 0)

    @property
    def n_items(self) -> int:
        """All items: one without likes scores 0."""
        return len(self._likes.values)

    def grow(self, size: int) -> None:
        """Makes room for `size` rows; the new ones have no likes."""
        self._likes.grow(size)

    def add(self, row: int) -> None:
        """Counts one like."""
        self._likes.values[row] += 1

    def take_back(self, row: int) -> None:
        """Counts one like less, where there is one."""
        self._likes.values[row] = max(self._likes.values[row] - 1, 0)

    def reset(self) -> None:
        """Forgets all counts."""
        self._likes.values[:] = 0

    def propose(self, profile: Profile, n: int, allowed: Mask) -> Proposal:  # noqa: ARG002 (the same for all users)
        """Returns the most liked of the allowed items."""
        likes = self._likes.values
        rows = np.flatnonzero(allowed[: len(likes)])
        # The logarithm does not change the order: it is taken of the best only.
        chosen = rows[best_places(rows, likes[rows], n)]
        return Proposal(chosen, np.log1p(likes[chosen]).astype(np.float32))

    def score(self, profile: Profile, rows: I64) -> F32:  # noqa: ARG002 (the same for all users)
        """Returns ln(1 + likes) of each row."""
        likes = self._likes.values
        counts = np.zeros(len(rows), np.int64)
        inside = rows < len(likes)
        counts[inside] = likes[rows[inside]]
        return np.log1p(counts).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes the counts into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "likes.npy", self._likes.values)

    @classmethod
    def load(cls, folder: Path) -> PopularSource:
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError: the folder does not hold counts.

        """
        return cls(np.load(folder / "likes.npy"))
