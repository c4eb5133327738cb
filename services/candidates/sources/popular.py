"""What many users liked: the answer for users that nothing is known of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.ports import Proposal
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.top_counts import TopCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.kind import Opening, TrainingData


class PopularSource:
    """Items by ln(1 + likes). Model and live source in one: a like counts when it is given, whoever gives it."""

    name = "popular"
    proposes = True
    description = "natural logarithm of 1 + the number of likes"

    def __init__(self, likes: I64) -> None:
        self._likes = TopCounts(likes.astype(np.int64))

    @property
    def n_items(self) -> int:
        """All items: one without likes scores 0."""
        return len(self._likes.values)

    def grow(self, size: int) -> None:
        """Makes room for `size` rows; the new ones have no likes."""
        self._likes.grow(size)

    def like(self, user_id: str, row: int, at: float) -> None:  # noqa: ARG002 (each like counts the same)
        """Counts one like."""
        self._likes.add(row, 1)

    def take_back(self, user_id: str, row: int, at: float) -> None:  # noqa: ARG002 (each like counts the same)
        """Counts one like less, where there is one."""
        self._likes.take(row, 1)

    def forget(self, user_id: str) -> None:
        """Has nothing to forget: counts are not kept by user."""

    def reset(self) -> None:
        """Forgets all counts."""
        self._likes.reset()

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:  # noqa: ARG002 (the same for all users)
        """Returns the most liked of the allowed items."""
        rows, likes = self._likes.best(n, allowed)
        return Proposal(rows, np.log1p(likes).astype(np.float32))

    def score(self, profile: Profile, rows: I64) -> F32:  # noqa: ARG002 (the same for all users)
        """Returns ln(1 + likes) of each row."""
        return np.log1p(self._likes.of(rows)).astype(np.float32)

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


def _fit(data: TrainingData, models: Mapping[str, Any]) -> PopularSource:
    del models
    return PopularSource(data.likes.per_item)


def _open(model: PopularSource, opening: Opening) -> Sequence[Source]:
    del opening
    return [model]


KIND = SourceKind("popular", _fit, PopularSource.load, _open)
