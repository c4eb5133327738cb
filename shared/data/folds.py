"""How the ranker's training lists are made without a leak: folds of a protocol's visible events.

For each fold the candidates job fits models on `training` alone (artifact labels stage=fit, fold=<name>); the ranker
asks those models about each list's `history`, and learns from `relevant`, which they have not seen.

- warm-0 … warm-3: every user's first 7/8, 6/8, 5/8, 4/8 of the visible events; relevant are the positives in the
  eighth after that. (Of the warm protocol's visible 0.8 n events, warm-0 trains on 0.7 n: the split of
  `docs/architecture.md`.)
- cold: three tenths of the users and a fifth of the items with at least 3 positives are hidden. Hidden users: their
  first 1, 3, 5, 10 events are the history, later positives are relevant. Other users: their events on visible items
  are the history, their positives among the hidden items are relevant, and the hidden items are the candidates.

One function, used by both jobs: given the same events it makes the same folds, in every process.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from shared.data.splits import (
    MIN_POSITIVES_TO_HIDE,
    NEW_USER_HISTORIES,
    TEST_SHARE,
    Protocol,
    by_user,
    hidden_items,
    hidden_users,
    per_user_chronological,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from shared.data.nouns import Event

WARM_HOLDS = (0.875, 0.75, 0.625, 0.5)
"""Shares of each user's visible events that the warm folds train on."""
LABEL_SHARE = 0.125
"""Share of each user's visible events, after the held ones, that a warm fold's labels are drawn from."""
HIDDEN_USER_SHARE = 0.3
HIDDEN_ITEM_SHARE = 0.2


class ListKind(StrEnum):
    """What a training list stands for."""

    WARM = "warm"
    COLD_USER = "cold-user"
    NEW_ITEMS = "new-items"
    SHOWN = "shown"
    """Of no fold: a recommendation as it was shown, and what was taken of it."""


@dataclass(frozen=True)
class TrainingList:
    """One question and its answer: a user's history, oldest first, and the items that turned out to be relevant.

    `pool`: the candidates, where they are not searched for. `later`: all events that `relevant` was read from, also
    those on items that were not liked.
    """

    user_id: str
    kind: ListKind
    history: tuple[Event, ...]
    relevant: frozenset[str]
    pool: frozenset[str] | None = None
    later: tuple[Event, ...] = ()


@dataclass(frozen=True)
class Fold:
    """What models of one fold may see, and the lists that are asked of them."""

    name: str
    training: tuple[Event, ...]
    lists: tuple[TrainingList, ...]
    hidden_users: frozenset[str] = frozenset()
    hidden_items: frozenset[str] = frozenset()


def visible_events(protocol: Protocol, events: Iterable[Event], is_positive: Callable[[Event], bool]) -> list[Event]:
    """Returns what models of stage `test` may see: each user's events together, in their order."""
    users = by_user(events)
    if protocol is Protocol.WARM:
        splits = per_user_chronological(users, TEST_SHARE, TEST_SHARE)
        return [event for split in splits.values() for event in split.train]
    flat = [event for own in users.values() for event in own]
    if protocol is Protocol.NEW_ITEMS:
        hidden = hidden_items(event for event in flat if is_positive(event))
        return [event for event in flat if event.item_id not in hidden]
    hidden = hidden_users(flat)
    return [event for event in flat if event.user_id not in hidden]


def training_folds(visible: Iterable[Event], is_positive: Callable[[Event], bool]) -> Iterator[Fold]:
    """Yields the folds of the events that `visible_events` returned (or of all events, for serving)."""
    users = by_user(visible)
    for number, hold in enumerate(WARM_HOLDS):
        yield _warm_fold(f"warm-{number}", users, hold, is_positive)
    yield _cold_fold(users, is_positive)


def _warm_fold(name: str, users: Mapping[str, list[Event]], hold: float, is_positive: Callable[[Event], bool]) -> Fold:
    training: list[Event] = []
    lists = []
    for user, split in per_user_chronological(users, hold, hold + LABEL_SHARE).items():
        training += split.train
        relevant = _relevant(split.validation, split.train, is_positive)
        if relevant and split.train:
            lists.append(TrainingList(user, ListKind.WARM, split.train, relevant, later=split.validation))
    return Fold(name, tuple(training), tuple(lists))


def _cold_fold(users: Mapping[str, list[Event]], is_positive: Callable[[Event], bool]) -> Fold:
    counts = Counter(event.item_id for own in users.values() for event in own if is_positive(event))
    liked_enough = (item for item, count in counts.items() if count >= MIN_POSITIVES_TO_HIDE)
    cold_users = _first_share(users, HIDDEN_USER_SHARE)
    cold_items = _first_share(liked_enough, HIDDEN_ITEM_SHARE)
    training: list[Event] = []
    lists: list[TrainingList] = []
    for user, own in users.items():
        shown = tuple(event for event in own if event.item_id not in cold_items)
        if user in cold_users:
            lists += _cold_user_lists(user, shown, is_positive)
            continue
        training += shown
        later = tuple(event for event in own if event.item_id in cold_items)
        relevant = _relevant(later, shown, is_positive)
        if relevant and shown:
            lists.append(TrainingList(user, ListKind.NEW_ITEMS, shown, relevant, cold_items, later))
    return Fold("cold", tuple(training), tuple(lists), cold_users, cold_items)


def _cold_user_lists(
    user: str, shown: tuple[Event, ...], is_positive: Callable[[Event], bool]
) -> Iterator[TrainingList]:
    for count in NEW_USER_HISTORIES:
        relevant = _relevant(shown[count:], shown[:count], is_positive)
        if relevant:
            yield TrainingList(user, ListKind.COLD_USER, shown[:count], relevant, later=shown[count:])


def _relevant(later: Iterable[Event], history: Iterable[Event], is_positive: Callable[[Event], bool]) -> frozenset[str]:
    # What was seen already is not recommended, and so cannot be found again.
    return frozenset(event.item_id for event in later if is_positive(event)) - {event.item_id for event in history}


def _first_share(ids: Iterable[str], share: float) -> frozenset[str]:
    # Salted: the protocols hide the first fifth by the plain hash, and one choice must not follow from the other.
    ordered = sorted(ids, key=lambda one: hashlib.sha256(f"fold:{one}".encode()).hexdigest())
    return frozenset(ordered[: round(share * len(ordered))])
