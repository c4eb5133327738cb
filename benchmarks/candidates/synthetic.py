"""Events and vectors made up for sizes that no data set of a package has. The same seed makes the same ones.

Events. Each item belongs to one of 200 tastes; its popularity, over all items, falls with its rank as 1 / (rank + 10)
(Zipf, flattened at the head). Each user has a log-normal number of events (sigma 1) and three tastes; four events in
five are drawn from the items of one of the three, by popularity, the others from all items, by popularity. An item that
a user draws twice is liked once. Times are spread evenly over a year.

Vectors. Taste centres are standard normal; an item is its taste's centre plus 0.7 times standard normal noise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32, F64, I32, I64

TASTES = 200
USER_TASTES = 3
OWN_SHARE = 0.8
SIGMA = 1.0
HEAD = 10.0
NOISE = 0.7
END_S, YEAR_S = 1_750_000_000.0, 365.0 * 86_400
EVENTS_PER_USER = 10.0


@dataclass(frozen=True)
class Size:
    """How much of everything; `events` as drawn, before repeated draws of a user fall together."""

    events: int
    users: int
    items: int


@dataclass(frozen=True, eq=False)
class Draws:
    """Likes, user by user, each user's in the order of time. `indptr` int64 (users + 1,) cuts the flat arrays."""

    indptr: I64
    items: I32
    times: F64

    def save(self, folder: Path) -> None:
        """Writes the arrays into a folder."""
        np.save(folder / "indptr.npy", self.indptr)
        np.save(folder / "items.npy", self.items)
        np.save(folder / "times.npy", self.times)

    @classmethod
    def load(cls, folder: Path) -> Draws:
        """Reads what `save` wrote."""
        return cls(*(np.load(folder / f"{name}.npy") for name in ("indptr", "items", "times")))


def tastes_of(items: int, seed: int) -> I32:
    """Returns the taste of each item, (items,), drawn evenly."""
    return np.random.default_rng([seed, 1]).integers(0, TASTES, items, dtype=np.int32)


def draw(size: Size, seed: int) -> Draws:
    """Draws the likes of a data set."""
    rng = np.random.default_rng([seed, 2])
    popularity: F64 = 1.0 / (HEAD + rng.permutation(size.items).astype(np.float64))
    activity = rng.lognormal(0.0, SIGMA, size.users)
    users = np.repeat(np.arange(size.users), rng.multinomial(size.events, activity / activity.sum()))
    items = _choose(rng, size.items, popularity, tastes_of(size.items, seed), users)
    pairs = np.unique(users * size.items + items)
    times = END_S - YEAR_S * rng.random(len(pairs))
    likers, liked = pairs // size.items, (pairs % size.items).astype(np.int32)
    order = np.lexsort((times, likers))
    indptr = np.concatenate([[0], np.cumsum(np.bincount(likers, minlength=size.users))])
    return Draws(indptr, liked[order], times[order])


def vectors(items: int, dim: int, seed: int, tastes: I32 | None = None) -> F32:
    """Returns vectors, float32 (items, dim), around their tastes' centres."""
    rng = np.random.default_rng([seed, 3])
    centres = rng.standard_normal((TASTES, dim), np.float32)
    made = rng.standard_normal((items, dim), np.float32)
    made *= NOISE
    made += centres[tastes_of(items, seed) if tastes is None else tastes]
    return made


def _choose(rng: np.random.Generator, items: int, popularity: F64, tastes: I32, users: I64) -> I64:
    """Returns the item of each event, by inverting cumulated popularity: over all items, or within a taste."""
    by_taste = np.argsort(tastes, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(tastes, minlength=TASTES))])
    mass = np.concatenate([[0.0], np.cumsum(popularity[by_taste])])
    own = rng.integers(0, TASTES, (int(users.max()) + 1, USER_TASTES))[users, rng.integers(0, USER_TASTES, len(users))]
    is_own = rng.random(len(users)) < OWN_SHARE
    low = np.where(is_own, mass[starts[own]], 0.0)
    high = np.where(is_own, mass[starts[own + 1]], mass[-1])
    places = np.searchsorted(mass, low + rng.random(len(users)) * (high - low), side="right") - 1
    return np.asarray(by_taste[np.minimum(places, items - 1)])
