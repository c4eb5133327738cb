"""What a user's history says, in rows of one version's item table."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from services.candidates.arrays import F32, F64, I64
    from shared.data.preferences import PreferenceRules

T = TypeVar("T")

_MISSING = object()
_SMALL = 8 * 1024
"""Bytes of an array that a profile keeps between two calls: vectors of a user, not sums over a catalogue."""


def _no_rows() -> I64:
    return np.zeros(0, np.int64)


def _no_times() -> F64:
    return np.zeros(0, np.float64)


class Judged(Protocol):
    """What an event or an entry of a history says."""

    @property
    def item_id(self) -> str:
        """The item."""

    @property
    def type(self) -> EventType:
        """What was done to it."""

    @property
    def timestamp(self) -> datetime:
        """When."""

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
    times: F64 = field(default_factory=_no_times)
    """When each liked item had its last positive event, unix seconds; shape of `liked`, or empty: not known."""
    tried: I64 = field(default_factory=_no_rows)
    """Rows of items with an event that is neither a like nor a DISLIKE, in the order of their last events: rated
    low, played for a moment. They say what the user takes up, which is half of what the user will like next."""
    tried_times: F64 = field(default_factory=_no_times)
    """When those last events were, unix seconds; shape of `tried`, or empty: not known."""
    asked_at: float = 0.0
    """The time of the question, unix seconds; 0 when it does not matter."""
    user_id: str = ""
    """Whose profile it is; empty for an explicit history without a user."""
    disliked: I64 = field(default_factory=_no_rows)
    """Rows of items with a DISLIKE, ascending, whatever came after it."""
    _kept: dict[str, object] = field(default_factory=dict)
    _kept_of_liked: dict[str, object] = field(default_factory=dict)

    def keep(self, key: str, compute: Callable[[], T]) -> T:
        """Returns `compute()`, computed once per profile and key; small arrays stay from call to call."""
        return _keep(self._kept, key, compute)

    def keep_of_liked(self, key: str, compute: Callable[[], T]) -> T:
        """Returns `compute()`, computed once per key and `liked`: for what does not depend on the strengths."""
        return _keep(self._kept_of_liked, key, compute)

    def newest(self, count: int) -> Profile:
        """Returns the profile of the `count` newest liked items."""

        def compute() -> Profile:
            return self._of(self.liked[-count:], self.strengths[-count:], self.times[-count:])

        return self.keep(f"newest {count}", compute)

    def decayed(self, half_life: float) -> Profile:
        """Returns the profile with each like's strength halved every `half_life` newer likes."""

        def compute() -> Profile:
            age = np.arange(len(self.liked) - 1, -1, -1, dtype=np.float32)
            strengths = (self.strengths * 0.5 ** (age / half_life)).astype(np.float32)
            return self._of(self.liked, strengths, self.times, self._kept_of_liked)

        return self.keep(f"decayed {half_life}", compute)

    def with_tried(self, weight: float) -> Profile:
        """Returns the profile with what was tried as likes of this strength.

        Each at the time of its event; before all likes where times are not known.
        """
        if not len(self.tried) or weight <= 0:
            return self

        def compute() -> Profile:
            rows = np.concatenate([self.tried, self.liked])
            strengths = np.concatenate([np.full(len(self.tried), weight, np.float32), self.strengths])
            times = np.concatenate([self.tried_times, self.times])
            if len(times) < len(rows):
                return self._of(rows, strengths, _no_times())
            order = np.argsort(times, kind="stable")
            return self._of(rows[order], strengths[order], times[order])

        return self.keep(f"with tried {weight}", compute)

    def shrink(self) -> None:
        """Drops what is large of all that sources keep here, after a call: a profile may be kept for a long time."""
        for kept in (self._kept, self._kept_of_liked):
            for key, value in list(kept.items()):
                if isinstance(value, Profile):
                    value.shrink()
                elif not isinstance(value, np.ndarray) or value.nbytes > _SMALL:
                    kept.pop(key, None)

    def _of(self, liked: I64, strengths: F32, times: F64, kept_of_liked: dict[str, object] | None = None) -> Profile:
        return Profile(
            liked,
            strengths,
            times=times,
            asked_at=self.asked_at,
            user_id=self.user_id,
            _kept_of_liked={} if kept_of_liked is None else kept_of_liked,
        )


def _keep(kept: dict[str, object], key: str, compute: Callable[[], T]) -> T:
    value = kept.get(key, _MISSING)
    if value is _MISSING:
        value = kept[key] = compute()
    return value  # type: ignore[return-value]  # the same key always holds the same type


def build_profile(
    history: Iterable[Judged],
    rows: Mapping[str, int],
    rules: PreferenceRules,
    *,
    asked_at: float = 0.0,
    user_id: str = "",
) -> Profile:
    """Returns the profile of a history, oldest event first.

    A negative takes back the likes before it; of several positives the strongest counts, at the place of the last.

    Args:
        history: the events.
        rows: the table's row of each item id.
        rules: how events become likes.
        asked_at: the time of the question, unix seconds.
        user_id: whose history it is.

    """
    liked: dict[int, tuple[float, float]] = {}
    seen: dict[int, float] = {}
    bought: set[int] = set()
    disliked: set[int] = set()
    count = 0
    for event in history:
        if not rules.counts(event):
            continue
        count += 1
        row = rows.get(event.item_id)
        if row is None:
            continue
        # Popped first, so that the item moves to the end: the order is that of the last events.
        seen.pop(row, None)
        seen[row] = event.timestamp.timestamp()
        if event.type is EventType.PURCHASE:
            bought.add(row)
        if event.type is EventType.DISLIKE:
            disliked.add(row)
        _judge(liked, row, rules.signal(event), event.timestamp)
    tried = [row for row in seen if row not in liked and row not in disliked]
    return Profile(
        np.fromiter(liked.keys(), np.int64, len(liked)),
        np.fromiter((strength for strength, _ in liked.values()), np.float32, len(liked)),
        np.array(sorted(seen), np.int64),
        np.array(sorted(bought), np.int64),
        count,
        np.fromiter((time for _, time in liked.values()), np.float64, len(liked)),
        np.array(tried, np.int64),
        np.array([seen[row] for row in tried], np.float64),
        asked_at,
        user_id,
        np.array(sorted(disliked), np.int64),
    )


def _judge(liked: dict[int, tuple[float, float]], row: int, signal: float, time: datetime) -> None:
    if signal < 0:
        liked.pop(row, None)
    elif signal > 0:
        # Popped first, so that the item moves to the end: the order of likes is the order of their last events.
        before, _ = liked.pop(row, (0.0, 0.0))
        liked[row] = (max(signal, before), time.timestamp())
