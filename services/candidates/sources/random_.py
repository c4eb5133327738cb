"""Any item, each as likely as the other: for exploration, and for logs that no model has bent."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.ports import Proposal
from services.candidates.sources.kind import SourceKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import Source
    from services.candidates.profile import Profile
    from services.candidates.sources.kind import Opening, TrainingData

_ROUNDS = 6
_MIN_HALF_BITS = 4
_MULTIPLIERS = np.array([0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35, 0x27D4EB2F, 0x165667B1, 0xD6E8FEB9], np.uint64)
"""Odd constants of xxHash and MurmurHash3, one per round."""


class Shuffle:
    """A random order of the numbers below 4^half_bits: a Feistel network (Luby and Rackoff, 1988).

    A number's place, and the number at a place, cost some operations each and no memory: nothing is shuffled.

    Args:
        key: 8 bytes per round.
        half_bits: bits of half a number.

    """

    def __init__(self, key: bytes, half_bits: int) -> None:
        self._keys = np.frombuffer(key, np.uint64)[:_ROUNDS]
        self._half = np.uint64(half_bits)
        self._mask = np.uint64((1 << half_bits) - 1)
        self.size = 1 << (2 * half_bits)

    def places(self, numbers: I64) -> I64:
        """Returns the place of each number."""
        left, right = self._split(numbers)
        for step in range(_ROUNDS):
            left, right = right, left ^ self._mix(right, step)
        return self._join(left, right)

    def numbers(self, places: I64) -> I64:
        """Returns the number at each place."""
        left, right = self._split(places)
        for step in reversed(range(_ROUNDS)):
            left, right = right ^ self._mix(left, step), left
        return self._join(left, right)

    def _mix(self, half: Any, step: int) -> Any:
        mixed = (half ^ self._keys[step]) * _MULTIPLIERS[step]
        mixed ^= mixed >> np.uint64(29)
        return ((mixed * _MULTIPLIERS[step - 1]) >> np.uint64(32)) & self._mask

    def _split(self, values: I64) -> tuple[Any, Any]:
        unsigned = values.astype(np.uint64)
        return unsigned >> self._half, unsigned & self._mask

    def _join(self, left: Any, right: Any) -> I64:
        joined: I64 = ((left << self._half) | right).astype(np.int64)
        return joined


@dataclass(frozen=True)
class RandomModel:
    """The seed, and how long a user's order lasts."""

    seed: int
    period_s: float

    def shuffle(self, profile: Profile, n_items: int) -> Shuffle:
        """Returns this user's order at the time of the question, of at least `n_items` items.

        A user is known by id, or without one by the liked items: the same list for all of whom nothing is known.
        """
        period = int(profile.asked_at // self.period_s)
        user = profile.user_id.encode() or profile.liked.tobytes()
        digest = hashlib.blake2b(f"{self.seed} {period} ".encode() + user, digest_size=8 * _ROUNDS).digest()
        half_bits = max((max(n_items - 1, 1).bit_length() + 1) // 2, _MIN_HALF_BITS)
        return Shuffle(digest, half_bits)

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "random.json").write_text(json.dumps({"seed": self.seed, "period_s": self.period_s}))

    @classmethod
    def load(cls, folder: Path) -> RandomModel:
        """Reads what `save` wrote.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold a model.

        """
        meta = json.loads((folder / "random.json").read_text())
        return cls(meta["seed"], meta["period_s"])


class RandomSource:
    """Allowed items in a random order: the same for one user and period, independent between users and periods.

    Args:
        model: the seed.
        size: returns the number of rows of the table. The order is a new one when that has grown fourfold.

    """

    name = "random"
    proposes = False
    description = "uniform over the allowed items, the same for a user and a day"

    def __init__(self, model: RandomModel, size: Callable[[], int]) -> None:
        self._model = model
        self._size = size

    @property
    def n_items(self) -> int:
        """All items."""
        return self._size()

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the first `n` allowed items of the user's order."""
        n_items = self._size()
        shuffle = self._model.shuffle(profile, n_items)
        wanted = min(n, allowed.count)
        if wanted * shuffle.size > allowed.count**2:
            # Few may come: cheaper to ask each for its place than to draw places until they are found.
            rows = allowed.rows[: np.searchsorted(allowed.rows, n_items)]
            rows = rows[np.argsort(shuffle.places(rows))]
        else:
            rows = _drawn(shuffle, wanted, n_items, allowed)
        return Proposal(rows[:wanted], _scores(shuffle, rows[:wanted]))

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns 1 for the first place of the user's order down to 0 behind the last one; NaN for no item."""
        n_items = self._size()
        scores = _scores(self._model.shuffle(profile, n_items), rows)
        scores[rows >= n_items] = np.nan
        return scores


def _drawn(shuffle: Shuffle, wanted: int, n_items: int, allowed: Allowed) -> I64:
    """Returns at least `wanted` allowed rows, or all there are, from the first places of the order on."""
    found, drawn = np.zeros(0, np.int64), 0
    while len(found) < wanted and drawn < shuffle.size:
        more = (wanted - len(found)) * shuffle.size // allowed.count * 5 // 4 + 16
        numbers = shuffle.numbers(np.arange(drawn, min(drawn + more, shuffle.size)))
        numbers = numbers[numbers < min(n_items, len(allowed))]
        found = np.concatenate([found, numbers[allowed.has(numbers)]])
        drawn += more
    return found


def _scores(shuffle: Shuffle, rows: I64) -> F32:
    return (1 - shuffle.places(rows) / shuffle.size).astype(np.float32)


def _fit(data: TrainingData, models: Mapping[str, Any]) -> RandomModel:
    del models
    return RandomModel(data.parameters.seed, data.parameters.random.period_s)


def _open(model: RandomModel, opening: Opening) -> Sequence[Source]:
    return [RandomSource(model, opening.table.__len__)]


KIND = SourceKind("random", _fit, RandomModel.load, _open)
