"""Learned quotas: how many of the places each source fills, the alternative to reciprocal rank fusion."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.merge.fusion import fuse
from shared.data.nouns import Temperature

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.candidates.arrays import F64, I64, Mask

BLOCK = 10
"""Places given at a time."""
MIN_USERS = 50
"""A temperature with fewer users is served with what was learned of all."""
MAX_USERS = 2_000
"""At most this many users are learned from, evenly spaced; more change little, and take time."""

Turns = tuple[tuple[str, int], ...]
"""Sources in the order of their turns, and how many places each turn fills; a source can have several."""


@dataclass(frozen=True)
class Quotas:
    """Whose turn it is: each turn takes a source's best items that no earlier turn took.

    The turns are a greedy solution of maximum coverage: the next block of places goes to the source whose next items
    hold the most of what users were seen to like afterwards, per place. They do not depend on k: a shorter list is the
    beginning of a longer one.
    """

    usual: Turns
    """Of all users."""
    by_temperature: Mapping[Temperature, Turns] = field(default_factory=dict)
    """Of users of one temperature, where there were enough of them."""

    @classmethod
    def fit(
        cls,
        lists: Sequence[Mapping[str, I64]],
        relevant: Sequence[I64],
        k: int,
        temperatures: Sequence[Temperature] = (),
    ) -> Quotas:
        """Learns the turns up to `k` places.

        Args:
            lists: of each user, the ranked rows of each source, best first; the same sources for all users. Made by
                models that have not seen `relevant`.
            relevant: of each user, the rows liked afterwards; users without any do not count.
            k: places to give.
            temperatures: of each user; none: no difference is made.

        """
        counting = [place for place, own in enumerate(relevant) if len(own)]
        users = [_User(lists[place], relevant[place]) for place in _spaced(counting)]
        by_temperature = {}
        for one in sorted(set(temperatures)):
            own = _spaced([place for place in counting if temperatures[place] is one])
            if len(own) >= MIN_USERS:
                by_temperature[one] = _turns([_User(lists[place], relevant[place]) for place in own], k)
        return cls(_turns(users, k), by_temperature)

    def turns(self, temperature: Temperature) -> Turns:
        """Returns the turns for users of this temperature."""
        return self.by_temperature.get(temperature, self.usual)

    def merge(self, lists: Mapping[str, I64], k: int, temperature: Temperature, rrf_k: int) -> tuple[I64, F64]:
        """Returns the `k` rows that the turns choose, and their scores, in the order of reciprocal rank fusion.

        Places that no turn fills (a list ended, `k` is larger than what was learned) go to the best of that order. When
        a source with a turn was not asked, the order alone decides.

        Args:
            lists: ranked rows of each source that was asked, best first.
            k: places.
            temperature: the user's.
            rrf_k: the constant of reciprocal rank fusion.

        """
        rows, scores = fuse(list(lists.values()), rrf_k)
        turns = self.turns(temperature)
        if len(rows) <= k or any(name not in lists for name, _ in turns):
            return rows[:k], scores[:k]
        by_row = np.argsort(rows)
        ascending = rows[by_row]
        places = {name: by_row[np.searchsorted(ascending, lists[name])] for name, _ in turns}
        chosen = np.zeros(len(rows), bool)
        left = k
        for name, slots in turns:
            left -= _take(places[name], chosen, min(slots, left))
            if not left:
                break
        _take(np.arange(len(rows)), chosen, left)
        return rows[chosen], scores[chosen]

    def to_json(self) -> dict[str, Any]:
        """Returns what `from_json` reads."""
        by_temperature = {one.name: [list(turn) for turn in turns] for one, turns in self.by_temperature.items()}
        return {"usual": [list(turn) for turn in self.usual], "by_temperature": by_temperature}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Quotas:
        """Reads what `to_json` made.

        Raises:
            KeyError, TypeError, ValueError: it is something else.

        """

        def turns(given: Any) -> Turns:
            return tuple((str(name), int(slots)) for name, slots in given)

        by_temperature = {Temperature[name]: turns(given) for name, given in data["by_temperature"].items()}
        return cls(turns(data["usual"]), by_temperature)


class _User:
    """One user's lists while places are given: items by their place in the union of the lists."""

    def __init__(self, lists: Mapping[str, I64], relevant: I64) -> None:
        rows = np.unique(np.concatenate([np.zeros(0, np.int64), *lists.values()]))
        self.lists = {name: np.searchsorted(rows, own) for name, own in lists.items()}
        self.taken: Mask = np.zeros(len(rows), bool)
        self.gains: F64 = np.isin(rows, relevant) / len(relevant)

    def next(self, name: str) -> I64:
        """Returns the next block of a source."""
        own = self.lists[name]
        return own[~self.taken[own]][:BLOCK]


def _turns(users: Sequence[_User], k: int) -> Turns:
    turns: list[tuple[str, int]] = []
    for start in range(0, k, BLOCK):
        names = users[0].lists if users else ()
        worth = {name: _worth([(user, user.next(name)) for user in users]) for name in names}
        # The first of equals: the order of the sources decides.
        name = max(worth, key=lambda one: worth[one], default="")
        if not name or worth[name] <= 0:
            break
        for user in users:
            user.taken[user.next(name)] = True
        slots = min(BLOCK, k - start)
        if turns and turns[-1][0] == name:
            slots += turns.pop()[1]
        turns.append((name, slots))
    return tuple(turns)


def _worth(blocks: Sequence[tuple[_User, I64]]) -> float:
    """Returns the recall that blocks add, summed over the users, per place that they fill."""
    places = sum(len(block) for _, block in blocks)
    return sum(float(user.gains[block].sum()) for user, block in blocks) / max(places, 1)


def _take(places: I64, chosen: Mask, count: int) -> int:
    """Marks the first `count` of these places that are not chosen yet; returns how many there were."""
    free = places[~chosen[places]][:count]
    chosen[free] = True
    return len(free)


def _spaced(places: Sequence[int]) -> Sequence[int]:
    return places if len(places) <= MAX_USERS else [places[i * len(places) // MAX_USERS] for i in range(MAX_USERS)]
