"""Lists that were shown: impressions of one recommendation, joined to what the user did about them.

Each is asked of one fold's models, which must not have seen anything of the user from the moment on that it was shown:
`shared/data/folds.py` cuts every user's events at four places, so a list belongs to the fold with the latest cut before
it, or to the cold fold when its user is hidden there. Where there is no such fold, there is no list.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.ranker.pipeline.record.record import recommendation_of
from shared.data.folds import ListKind, TrainingList
from shared.data.splits import by_user

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from shared.data.folds import Fold
    from shared.data.nouns import Event
    from shared.data.preferences import PreferenceRules

MAX_POSITION = 100
"""Rows that were shown beyond it are left out: hardly anybody looks there, and lists stay small."""
EARLY = timedelta(minutes=5)
"""What a user did may bear a time this long before it was shown: clocks of clients differ."""


@dataclass(frozen=True)
class ShownList:
    """A recommendation as it was shown at `shown_at`, for the models of the fold `fold`.

    `list`: `pool` are the items that are learned from, `relevant` those that were taken, `later` what the user did
    about them. `positions`: of the items of the pool, from 1. `explored`: chance had a hand in the order.
    """

    recommendation_id: str
    fold: str
    shown_at: datetime
    list: TrainingList
    positions: Mapping[str, int]
    explored: bool


@dataclass(frozen=True)
class VisibleLog:
    """What may be learned from: `visible` events of all that are `counting`, and the folds made of them."""

    counting: Sequence[Event]
    visible: Sequence[Event]
    folds: Sequence[Fold]
    rules: PreferenceRules


def wanted_recommendations(log: VisibleLog, most: int, users: Collection[str] | None = None) -> frozenset[str]:
    """Returns the ids of the newest recommendations that something was taken of, at most `most`; of `users` alone.

    Only of those for which there may be a fold: one whose models have not seen what was taken.
    """
    in_folds = Counter(
        event.event_id for fold in log.folds for event in fold.training if recommendation_of(event.attribution_token)
    )
    came_of_lists = [
        event
        for event in log.visible
        if recommendation_of(event.attribution_token)
        and log.rules.signal(event) > 0
        and in_folds[event.event_id] < len(log.folds)
        and (users is None or event.user_id in users)
    ]
    newest: dict[str, None] = {}
    for event in sorted(came_of_lists, key=lambda one: one.timestamp, reverse=True):
        if len(newest) >= most:
            break
        newest[recommendation_of(event.attribution_token)] = None
    return frozenset(newest)


def shown_lists(impressions: Iterable[Event], log: VisibleLog, window: timedelta) -> list[ShownList]:
    """Returns the lists that something was taken of and something was not, in the order they were shown.

    What was taken: the newest judgement by the preference rules of an event with the impression's token, of the user
    who saw it, within `window`. All other rows were not taken, also those below the last that was: whether they were
    looked at is for the weights to say (`examination.py`). Left out are items that the user had to do with before or by
    another way later (they say nothing here), and items that only hidden events name. A list is left out when what is
    hidden belongs to its outcomes.
    """
    groups: dict[str, list[Event]] = defaultdict(list)
    for impression in impressions:
        groups[recommendation_of(impression.attribution_token)].append(impression)
    users = frozenset(one.user_id for group in groups.values() for one in group)
    reader = _Reader(log, users, window)
    made = [
        one
        for recommendation, group in groups.items()
        if recommendation and len({each.user_id for each in group}) == 1
        for one in reader.lists(recommendation, group)
    ]
    return sorted(made, key=lambda one: (one.shown_at, one.recommendation_id))


class _Reader:
    """Joins impressions of some users to their events."""

    def __init__(self, log: VisibleLog, users: frozenset[str], window: timedelta) -> None:
        self._rules = log.rules
        self._window = window
        self._own = by_user(event for event in log.counting if event.user_id in users)
        self._visible = frozenset(event.event_id for event in log.visible if event.user_id in users)
        self._hidden_items = {event.item_id for event in log.counting} - {event.item_id for event in log.visible}
        self._folds = [
            (fold, by_user(event for event in fold.training if event.user_id in users)) for fold in log.folds
        ]

    def lists(self, recommendation: str, impressions: Sequence[Event]) -> Iterator[ShownList]:
        """Yields the list of a recommendation, if there is one."""
        user_id = impressions[0].user_id
        shown_at = min(one.timestamp for one in impressions)
        shown = {one.item_id: one for one in sorted(impressions, key=lambda one: one.position, reverse=True)}
        own = self._own.get(user_id, [])
        of_list = [event for event in own if recommendation_of(event.attribution_token) == recommendation]
        if any(event.event_id not in self._visible for event in of_list):
            return
        outcomes = [event for event in of_list if self._is_outcome(event, shown, shown_at)]
        told = {event.event_id for event in outcomes}
        elsewhere = {event.item_id for event in own if event.event_id not in told}
        rows = {item_id: one.position for item_id, one in shown.items() if 0 < one.position <= MAX_POSITION}
        rows = {item: at for item, at in rows.items() if item not in elsewhere and item not in self._hidden_items}
        taken = self._taken(outcomes) & rows.keys()
        fold = self._fold(user_id, shown_at, recommendation)
        if not taken or len(taken) == len(rows) or fold is None:
            return
        history = tuple(
            event
            for event in own
            if event.event_id in self._visible
            and comes_before(event, shown_at, recommendation)
            and event.item_id not in fold.hidden_items
        )
        one = TrainingList(user_id, ListKind.SHOWN, history, taken, frozenset(rows), tuple(outcomes))
        explored = any(each.propensity is not None and each.propensity < 1 for each in impressions)
        yield ShownList(recommendation, fold.name, shown_at, one, rows, explored)

    def _is_outcome(self, event: Event, shown: Mapping[str, Event], shown_at: datetime) -> bool:
        impression = shown.get(event.item_id)
        return (
            impression is not None
            and event.attribution_token == impression.attribution_token
            and shown_at - EARLY <= event.timestamp <= shown_at + self._window
        )

    def _taken(self, outcomes: Iterable[Event]) -> frozenset[str]:
        judged: dict[str, float] = {}
        for event in outcomes:
            signal = self._rules.signal(event)
            if signal:
                judged[event.item_id] = signal
        return frozenset(item_id for item_id, signal in judged.items() if signal > 0)

    def _fold(self, user_id: str, shown_at: datetime, recommendation: str) -> Fold | None:
        """Returns the first fold whose models know of the user only what came before; the first has the latest cut."""
        for fold, training in self._folds:
            if all(comes_before(event, shown_at, recommendation) for event in training.get(user_id, ())):
                return fold
        return None


def comes_before(event: Event, shown_at: datetime, recommendation: str) -> bool:
    """Returns whether an event is from before the list was shown: what is said to have come of it never is."""
    return event.timestamp < shown_at and recommendation_of(event.attribution_token) != recommendation
