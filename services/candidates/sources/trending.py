"""What is liked now: likes that count less and less as they grow old."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.ports import Proposal
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.top_counts import TopCounts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32, F64, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.hyperparameters import TrendingParameters
    from services.candidates.sources.kind import Opening, TrainingData
    from services.candidates.training.likes import Likes

DAY_S = 86_400.0
_HIGHEST_POWER = 512
"""Weights are at most 2 to this power: their sums stay far from the end of float64, at 2^1024."""


@dataclass(frozen=True, eq=False)
class _Weighed:
    """Sums of weights by row: a like given `h` half-lives after the landmark weighs 2^h."""

    sums: TopCounts[np.float64]
    landmark: float


class TrendingSource:
    """Items by ln(1 + likes), a like's weight halved every half-life. Model and live source in one.

    Forward decay (Cormack, Shkapenyuk, Srivastava, Xu, 2009): weights are counted up from a landmark in the past, not
    down from now, so that time that passes changes no sum and no order. The landmark moves up before weights get too
    large for float64; what was liked 1,500 half-lives ago is 0 then.

    Now, for the score, is the time of the newest like. With the time of the question all scores would sink to 0
    together on a log that has ended, though it says as clearly as ever what was trending last.

    Args:
        sums: float64 (items,).
        landmark: unix seconds.
        newest: the newest like, unix seconds.
        half_life_days: days.

    """

    name = "trending"
    proposes = True

    def __init__(self, sums: F64, landmark: float, newest: float, half_life_days: float) -> None:
        self._weighed = _Weighed(TopCounts(sums.astype(np.float64)), landmark)
        self._newest = newest
        self._half_life_days = half_life_days
        self.description = f"likes, their weight halved every {half_life_days:g} days"

    @classmethod
    def fit(cls, likes: Likes, parameters: TrendingParameters) -> TrendingSource:
        """Sums the decayed likes; the landmark is the newest."""
        ages = (likes.newest - likes.times) / (parameters.half_life_days * DAY_S)
        sums: F64 = np.bincount(likes.sequence, 0.5**ages, minlength=likes.matrix.shape[1]).astype(np.float64)
        return cls(sums, likes.newest, likes.newest, parameters.half_life_days)

    @property
    def n_items(self) -> int:
        """All items: one without likes scores 0."""
        return len(self._weighed.sums.values)

    def grow(self, size: int) -> None:
        """Makes room for `size` rows; the new ones have no likes."""
        self._weighed.sums.grow(size)

    def like(self, user_id: str, row: int, at: float) -> None:  # noqa: ARG002 (each user's like weighs the same)
        """Adds a like, by the time it was given."""
        self._newest = max(self._newest, at)
        if self._power(at) > _HIGHEST_POWER:
            self._move_landmark(at)
        self._weighed.sums.add(row, self._weight(at))

    def take_back(self, user_id: str, row: int, at: float) -> None:  # noqa: ARG002 (each user's like weighs the same)
        """Takes a like away."""
        self._weighed.sums.take(row, self._weight(at))

    def forget(self, user_id: str) -> None:
        """Has nothing to forget: sums are not kept by user."""

    def reset(self) -> None:
        """Forgets all likes."""
        self._weighed = _Weighed(TopCounts(np.zeros(self.n_items)), 0.0)
        self._newest = 0.0

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:  # noqa: ARG002 (the same for all users)
        """Returns the allowed items with the largest decayed number of likes."""
        weighed = self._weighed
        rows, sums = weighed.sums.best(n, allowed)
        return Proposal(rows, self._scores(sums, weighed.landmark))

    def score(self, profile: Profile, rows: I64) -> F32:  # noqa: ARG002 (the same for all users)
        """Returns ln(1 + decayed likes) of each row."""
        weighed = self._weighed
        return self._scores(weighed.sums.of(rows), weighed.landmark)

    def _scores(self, sums: F64, landmark: float) -> F32:
        age = (self._newest - landmark) / (self._half_life_days * DAY_S)
        scores: F32 = np.log1p(sums * 0.5**age).astype(np.float32)
        return scores

    def _power(self, at: float) -> float:
        return (at - self._weighed.landmark) / (self._half_life_days * DAY_S)

    def _weight(self, at: float) -> float:
        return float(2.0 ** min(self._power(at), _HIGHEST_POWER))

    def _move_landmark(self, to: float) -> None:
        # New sums, not the old ones rescaled: a reader sees those that belong to its landmark.
        sums = self._weighed.sums.values * 0.5 ** self._power(to)
        self._weighed = _Weighed(TopCounts(sums), to)

    def save(self, folder: Path) -> None:
        """Writes the sums into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "sums.npy", self._weighed.sums.values)
        meta = {"landmark": self._weighed.landmark, "newest": self._newest, "half_life_days": self._half_life_days}
        (folder / "trending.json").write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> TrendingSource:
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold sums.

        """
        meta = json.loads((folder / "trending.json").read_text())
        return cls(np.load(folder / "sums.npy"), meta["landmark"], meta["newest"], meta["half_life_days"])


def _fit(data: TrainingData, models: Mapping[str, Any]) -> TrendingSource:
    del models
    return TrendingSource.fit(data.likes, data.parameters.trending)


def _open(model: TrendingSource, opening: Opening) -> Sequence[Source]:
    del opening
    return [model]


KIND = SourceKind("trending", _fit, TrendingSource.load, _open)
