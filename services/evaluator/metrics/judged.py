"""One judged ranking: what every metric is computed from."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Judged:
    """A ranking reduced to where its relevant items stand.

    `places`: the places, counted from 1 and ascending, that hold a relevant item; `gains`: the gains of those items, as
    many. `ideal`: the gains of all R relevant items, largest first, ranked or not. Gains are above 0. Tuples and not
    arrays: a ranking has few hits, and calls into numpy would take most of the time.
    """

    places: tuple[int, ...]
    gains: tuple[float, ...]
    ideal: tuple[float, ...]

    def hits(self, k: int) -> int:
        """Returns how many of the first k places hold a relevant item."""
        return bisect_right(self.places, k)


class Metric(Protocol):
    """A metric of one query at cut-off k, in [0, 1]. It is asked only for queries with a relevant item (R >= 1)."""

    def __call__(self, judged: Judged, k: int) -> float:
        """Returns the metric's value."""


def judge(ranking: Sequence[str], gains: Mapping[str, float], depth: int) -> Judged:
    """Returns the judged form of a ranking's first `depth` places; items without a gain above 0 are not relevant."""
    hits = [(place, gains[item]) for place, item in enumerate(ranking[:depth], 1) if gains.get(item, 0.0) > 0]
    return Judged(
        places=tuple(place for place, _ in hits),
        gains=tuple(gain for _, gain in hits),
        ideal=tuple(sorted((gain for gain in gains.values() if gain > 0), reverse=True)),
    )
