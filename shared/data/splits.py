"""The three evaluation protocols' splits: one implementation, used by every job.

Each protocol has two stages. Models of stage `fit` are what the ranker's labels are drawn against;
models of stage `test` are what is measured. Stage `serving` uses everything.

- warm: `r` is the index of an event in its user's order (timestamp, then item id), `n` the number of the
  user's events. fit: r < ceil(0.7 n); validation: up to ceil(0.8 n); test: from there on.
- new-items: of the items with at least 3 positives, sorted by the SHA-256 (hex) of the item id, the first
  fifth is hidden from every training.
- new-users: of all users, sorted by the SHA-256 (hex) of the user id, the first fifth is hidden; their first
  1, 3, 5, 10 events are the history, later positives are relevant.
"""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from shared.data.nouns import Event

FIT_SHARE = 0.7
TEST_SHARE = 0.8
MIN_POSITIVES_TO_HIDE = 3
NEW_USER_HISTORIES = (1, 3, 5, 10)

E = TypeVar("E", bound="Event")


class Protocol(StrEnum):
    """What is being measured."""

    WARM = "warm"
    NEW_ITEMS = "new-items"
    NEW_USERS = "new-users"


class Stage(StrEnum):
    """For what a model of a protocol is trained."""

    FIT = "fit"
    TEST = "test"
    SERVING = "serving"


@dataclass(frozen=True)
class ChronologicalSplit:
    """One user's events in order, cut in three."""

    train: tuple[Event, ...]
    validation: tuple[Event, ...]
    test: tuple[Event, ...]


def by_user(events: Iterable[Event]) -> dict[str, list[Event]]:
    """Returns each user's events sorted by (timestamp, item id)."""
    users: dict[str, list[Event]] = defaultdict(list)
    for event in events:
        users[event.user_id].append(event)
    for own in users.values():
        own.sort(key=lambda event: (event.timestamp, item_order(event.item_id)))
    return dict(users)


def per_user_chronological(
    users: Mapping[str, Sequence[Event]], first: float = FIT_SHARE, second: float = TEST_SHARE
) -> dict[str, ChronologicalSplit]:
    """Cuts each user's sorted events at ceil(first * n) and ceil(second * n).

    Raises:
        ValueError: not 0 <= first <= second <= 1.

    """
    if not 0 <= first <= second <= 1:
        raise ValueError(f"need 0 <= first <= second <= 1, got {first} and {second}")
    splits = {}
    for user, events in users.items():
        a, b = _cut(first, len(events)), _cut(second, len(events))
        splits[user] = ChronologicalSplit(tuple(events[:a]), tuple(events[a:b]), tuple(events[b:]))
    return splits


def hidden_fifth(ids: Iterable[str]) -> frozenset[str]:
    """Returns the first fifth of the ids in the order of their SHA-256 in hex: fixed, and free of any pattern."""
    ordered = sorted(ids, key=lambda one: hashlib.sha256(one.encode()).hexdigest())
    return frozenset(ordered[: len(ordered) // 5])


def hidden_items(positives: Iterable[Event]) -> frozenset[str]:
    """Returns the items hidden by the new-items protocol, given all positive events."""
    counts: dict[str, int] = defaultdict(int)
    for event in positives:
        counts[event.item_id] += 1
    return hidden_fifth(item for item, count in counts.items() if count >= MIN_POSITIVES_TO_HIDE)


def hidden_users(events: Iterable[Event]) -> frozenset[str]:
    """Returns the users hidden by the new-users protocol."""
    return hidden_fifth({event.user_id for event in events})


def _cut(share: float, count: int) -> int:
    # 0.7 * 10 is 7.000000000000001 in binary: without rounding, ceil would give 8.
    return math.ceil(round(share * count, 9))


def item_order(item_id: str) -> tuple[int, int | str]:
    """Returns what decides between events of the same time: decimal ids by their number, before all others."""
    return (0, int(item_id)) if item_id.isdecimal() else (1, item_id)
