"""What follows the items liked last: a Markov model over a window, so that the order of likes has a say."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.ports import Proposal
from services.candidates.sources.hyperparameters import SequentialParameters
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.ranking import best
from services.candidates.sources.sequential_fit import DAY_S, transitions
from services.candidates.sources.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32, F64, I32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.kind import Opening, TrainingData
    from services.candidates.training.likes import Likes

NO_TRANSITIONS = "no liked item in the history that the model knows what follows on"


@dataclass(frozen=True, eq=False)
class SequentialModel:
    """Transition weights, CSR by the item that they lead away from: `indptr` (items + 1), `columns`, `weights`.

    `targets`: number of items that something leads to.
    """

    indptr: I64
    columns: I32
    weights: F32
    targets: int
    parameters: SequentialParameters

    @classmethod
    def fit(cls, likes: Likes, parameters: SequentialParameters) -> SequentialModel:
        """Counts the transitions of `likes`."""
        parameters = replace(parameters, tried_weight=likes.weight_of_tried(parameters.tried_weight))
        indptr, columns, weights = transitions(likes.with_tried(parameters.tried_weight), parameters)
        return cls(indptr, columns, weights, len(np.unique(columns)), parameters)

    def follow(self, profile: Profile) -> Sums | None:
        """Returns the sums over the newest likes of like's weight * transition weight; None where nothing follows.

        The a-th newest like weighs strength * a^-recency_power * 0.5^(time before the newest / half-life): counted from
        the newest like, not from now, since the time that has passed for all of them alike changes no order.
        """
        return profile.keep(
            f"sequential {id(self)}", lambda: self._follow(profile.with_tried(self.parameters.tried_weight))
        )

    def _follow(self, profile: Profile) -> Sums | None:
        liked = profile.liked[-self.parameters.last :]
        inside = liked < len(self.indptr) - 1
        rows, shares = liked[inside], self._shares(profile, len(liked))[inside]
        starts, ends = self.indptr[rows], self.indptr[rows + 1]
        # Whole rows are copied: much cheaper than to look up some ten thousand places one by one.
        parts = [slice(start, end) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
        columns = np.concatenate([self.columns[:0], *(self.columns[part] for part in parts)])
        if not len(columns):
            return None
        weights = np.concatenate([self.weights[part] for part in parts]) * np.repeat(shares, ends - starts)
        return Sums(columns, weights, len(self.indptr) - 1)

    def _shares(self, profile: Profile, count: int) -> F32:
        """Returns what each of the `count` newest likes weighs, the oldest first."""
        age = np.arange(count, 0, -1, dtype=np.float64)
        shares: F64 = profile.strengths[len(profile.strengths) - count :] * age**-self.parameters.recency_power
        if len(profile.times) and count:
            times = profile.times[-count:]
            shares *= 0.5 ** ((times.max() - times) / (self.parameters.recency_half_life_days * DAY_S))
        return shares.astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("indptr", "columns", "weights"):
            np.save(folder / f"{name}.npy", getattr(self, name))
        meta = {"targets": self.targets, "parameters": asdict(self.parameters)}
        (folder / "sequential.json").write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> SequentialModel:
        """Reads what `save` wrote; the transitions stay on disk until they are used.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold a model.

        """
        meta = json.loads((folder / "sequential.json").read_text())
        # As plain arrays: every slice of a `memmap` costs microseconds.
        indptr, columns, weights = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in ("indptr", "columns", "weights")
        )
        return cls(indptr, columns, weights, meta["targets"], SequentialParameters(**meta["parameters"]))


class SequentialSource:
    """Items that users liked soon after what this user liked last."""

    name = "sequential"
    proposes = True

    def __init__(self, model: SequentialModel) -> None:
        self._model = model
        window = model.parameters.window
        self.description = f"transitions within {window} likes, {len(model.weights):,} weights, newest likes first"

    @property
    def n_items(self) -> int:
        """Items that something leads to."""
        return self._model.targets

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the allowed items with the largest sum of weights, of those that anything leads to."""
        reached = self._model.follow(profile)
        if reached is None:
            return Proposal.nothing(NO_TRANSITIONS)
        return best(*reached.positive(allowed), n)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns sums of weights; NaN for items that nothing leads to from this user's likes."""
        reached = self._model.follow(profile)
        if reached is None:
            return np.full(len(rows), np.nan, np.float32)
        return reached.scores(rows)


def _fit(data: TrainingData, models: Mapping[str, Any]) -> SequentialModel:
    del models
    return SequentialModel.fit(data.likes, data.parameters.sequential)


def _open(model: SequentialModel, opening: Opening) -> Sequence[Source]:
    del opening
    return [SequentialSource(model)]


KIND = SourceKind("sequential", _fit, SequentialModel.load, _open)
