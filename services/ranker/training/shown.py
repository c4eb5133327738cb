"""Lists that were shown: impressions of one recommendation, joined to what the user did about them.

Each is asked of one fold's models, which must not have seen anything of the user from the moment on that it was shown:
`shared/data/folds.py` cuts every user's events at four places, so a list belongs to the fold with the latest cut before
it, or to the cold fold when its user is hidden there. Where there is no such fold, there is no list.

Nothing here knows what the protocol hides, but for the items that are its question: what is learned is the same as if
that had not happened yet.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING

from services.ranker.pipeline.record.record import recommendation_of
from shared.data.folds import ListKind, TrainingList
from shared.data.splits import by_user

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
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
    """What may be learned from: `visible` events, and the folds made of them.

    `hidden_items`: those that the protocol hides, where items are what it hides (new-items).
    """

    visible: Sequence[Event]
    folds: Sequence[Fold]
    rules: PreferenceRules
    hidden_items: frozenset[str] = frozenset()


def wanted_recommendations(log: VisibleLog, most: int, users: Collection[str] | None = None) -> dict[str, str]:
    """Returns the newest recommendations that something was taken of, at most `most`, and who took of each first.

    Only those for which there may be a fold: one whose models have not seen what was taken. With `users`, of these
    alone. Whoever came by a link that was passed on comes later. That a token is of this service, and that its list was
    ever written, is not known here.
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
    newest_first = sorted(came_of_lists, key=lambda one: one.timestamp, reverse=True)
    # A dict keeps the place of what was put first, and the value of what was put last.
    takers = {recommendation_of(event.attribution_token): event.user_id for event in newest_first}
    return dict(islice(takers.items(), most))


def shown_lists(impressions: Iterable[Event], log: VisibleLog, window: timedelta) -> list[ShownList]:
    """Returns the lists that something was taken of and something was not, in the order they were shown.

    What was taken: the newest judgement by the preference rules of an event with the impression's token, of the user
    who saw it, within `window`. All other rows were not taken, also those below the last that was: whether they were
    looked at is for the weights to say (`examination.py`). Left out are items that the user knew before; of those not
    taken, items that the user came to by another way later: that they were passed over here says nothing. And items
    that the protocol hides. Impressions of somebody else with the tokens of a list, or without a place, are no rows.
    """
    groups: dict[tuple[str, str], list[Event]] = defaultdict(list)
    for impression in impressions:
        recommendation = recommendation_of(impression.attribution_token)
        if recommendation and 1 <= impression.position <= MAX_POSITION:
            groups[recommendation, impression.user_id].append(impression)
    reader = _Reader(log, frozenset(user_id for _, user_id in groups), window)
    found = [reader.list_of(recommendation, group) for (recommendation, _), group in groups.items()]
    return sorted((one for one in found if one is not None), key=lambda one: (one.shown_at, one.recommendation_id))


class _Reader:
    """Joins impressions of some users to their events."""

    def __init__(self, log: VisibleLog, users: frozenset[str], window: timedelta) -> None:
        self._rules = log.rules
        self._window = window
        self._own = by_user(event for event in log.visible if event.user_id in users)
        self._hidden_items = log.hidden_items
        self._folds = [
            (fold, by_user(event for event in fold.training if event.user_id in users)) for fold in log.folds
        ]

    def list_of(self, recommendation: str, impressions: Sequence[Event]) -> ShownList | None:
        """Returns the list of a recommendation to one user; None where there is nothing to learn."""
        user_id = impressions[0].user_id
        shown_at = min(one.timestamp for one in impressions)
        shown = {one.item_id: one for one in sorted(impressions, key=lambda one: one.position, reverse=True)}
        own = self._own.get(user_id, [])
        outcomes = [event for event in own if self._is_outcome(event, shown, shown_at)]
        before = [event for event in own if comes_before(event, shown_at, recommendation)]
        told = {event.event_id for event in (*outcomes, *before)}
        elsewhere = {event.item_id for event in own if event.event_id not in told}
        ignored = {event.item_id for event in before} | self._hidden_items
        taken = self._taken(outcomes) & shown.keys() - ignored
        # What was taken stays whatever the user did with it later: most of all those that it led to more with.
        ignored |= elsewhere - taken
        rows = {item_id: one.position for item_id, one in shown.items() if item_id not in ignored}
        fold = self._fold(user_id, shown_at, recommendation)
        if not taken or len(taken) == len(rows) or fold is None:
            return None
        history = tuple(event for event in before if event.item_id not in fold.hidden_items)
        one = TrainingList(user_id, ListKind.SHOWN, history, taken, frozenset(rows), tuple(outcomes))
        explored = any(each.propensity is not None and each.propensity < 1 for each in impressions)
        return ShownList(recommendation, fold.name, shown_at, one, rows, explored)

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
