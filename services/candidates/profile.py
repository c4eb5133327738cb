"""What a user's history says, in rows of one version's item table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from services.candidates.arrays import F32, I64
    from shared.data.preferences import PreferenceRules

T = TypeVar("T")


def _no_rows() -> I64:
    return np.zeros(0, np.int64)


class Judged(Protocol):
    """What an event or an entry of a history says."""

    @property
    def item_id(self) -> str:
        """The item."""

    @property
    def type(self) -> EventType:
        """What was done to it."""

    @property
    def value(self) -> float | None:
        """The number that belongs to the type."""


@dataclass(frozen=True, eq=False)
class Profile:
    """A user as the sources see one. Rows are int64 arrays; what a source computes of it is kept for the call."""

    liked: I64
    """Rows of the liked items, the oldest first; an item stands at its last positive event."""
    strengths: F32
    """Confidence of each liked item, above 0; the same shape as `liked`."""
    seen: I64 = field(default_factory=_no_rows)
    """Rows of all items with an event that counts."""
    bought: I64 = field(default_factory=_no_rows)
    """Rows of the items bought."""
    events: int = 0
    """Number of events that count, also of items that the table does not know."""
    _kept: dict[str, object] = field(default_factory=dict)
    _kept_of_liked: dict[str, object] = field(default_factory=dict)

    def keep(self, key: str, compute: Callable[[], T]) -> T:
        """Returns `compute()`, computed once per profile and key."""
        return _keep(self._kept, key, compute)

    def keep_of_liked(self, key: str, compute: Callable[[], T]) -> T:
        """Returns `compute()`, computed once per key and `liked`: for what does not depend on the strengths."""
        return _keep(self._kept_of_liked, key, compute)

    def newest(self, count: int) -> Profile:
        """Returns the profile of the `count` newest liked items."""
        return self.keep(f"newest {count}", lambda: Profile(self.liked[-count:], self.strengths[-count:]))

    def decayed(self, half_life: float) -> Profile:
        """Returns the profile with each like's strength halved every `half_life` newer likes."""

        def compute() -> Profile:
            age = np.arange(len(self.liked) - 1, -1, -1, dtype=np.float32)
            strengths = (self.strengths * 0.5 ** (age / half_life)).astype(np.float32)
            return Profile(self.liked, strengths, _kept_of_liked=self._kept_of_liked)

        return self.keep(f"decayed {half_life}", compute)


def _keep(kept: dict[str, object], key: str, compute: Callable[[], T]) -> T:
    if key not in kept:
        kept[key] = compute()
    return kept[key]  # type: ignore[return-value]  # the same key always holds the same type


def build_profile(history: Iterable[Judged], rows: Mapping[str, int], rules: PreferenceRules) -> Profile:
    """Returns the profile of a history, oldest event first.

    A negative takes back the likes before it; of several positives the strongest counts, at the place of the last.
    """
    liked: dict[int, float] = {}
    seen: set[int] = set()
    bought: set[int] = set()
    count = 0
    for event in history:
        if not rules.counts(event):
            continue
        count += 1
        row = rows.get(event.item_id)
        if row is None:
            continue
        seen.add(row)
        if event.type is EventType.PURCHASE:
            bought.add(row)
        _judge(liked, row, rules.signal(event))
    return Profile(
        np.fromiter(liked.keys(), np.int64, len(liked)),
        np.fromiter(liked.values(), np.float32, len(liked)),
        np.array(sorted(seen), np.int64),
        np.array(sorted(bought), np.int64),
        count,
    )


def _judge(liked: dict[int, float], row: int, signal: float) -> None:
    if signal < 0:
        liked.pop(row, None)
    elif signal > 0:
        # Popped first, so that the item moves to the end: the order of likes is the order of their last events.
        liked[row] = max(signal, liked.pop(row, 0.0))
