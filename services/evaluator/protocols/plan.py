"""What a protocol asks: queries with their histories and what would have been right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from services.evaluator.ports import Question
from shared.data.limits import MAX_HISTORY
from shared.data.nouns import Event, EventType, HistoryEvent

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.evaluator.ports import LogSnapshot
    from shared.data.preferences import PreferenceRules
    from shared.data.splits import Protocol

JUST_AFTER = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Query:
    """One user's question, the items that are relevant to it, and all items of the history.

    `history_length` is set where a protocol asks the same user with histories of several lengths.
    """

    user_id: str
    question: Question
    relevant: frozenset[str]
    seen: frozenset[str]
    history_length: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """A protocol laid out on a log.

    `pool`: the items ranked among themselves; None when the whole catalogue is ranked. `catalogue`: every item that
    can be in an answer, sorted. `split`: in words, what is history and what is relevant.
    """

    protocol: Protocol
    queries: tuple[Query, ...]
    catalogue: tuple[str, ...]
    pool: tuple[str, ...] | None
    split: str
    facts: dict[str, int]

    @property
    def users(self) -> int:
        """Users with at least one query."""
        return len({query.user_id for query in self.queries})

    @property
    def history_lengths(self) -> tuple[int, ...]:
        """The history lengths asked for; empty where a user is asked once."""
        return tuple(sorted({one.history_length for one in self.queries if one.history_length is not None}))


def counting(events: Iterable[Event], rules: PreferenceRules) -> list[Event]:
    """Returns the events that are part of what a user did: all but impressions."""
    return [event for event in events if rules.counts(event)]


def positive_items(events: Iterable[Event], rules: PreferenceRules) -> frozenset[str]:
    """Returns the items with a positive event among `events`."""
    return frozenset(event.item_id for event in events if rules.signal(event) > 0)


def make_query(
    user_id: str, history: Sequence[Event], relevant: frozenset[str], *, history_length: int | None = None
) -> Query:
    """Returns the query for a user's history, oldest first.

    The newest 1000 events are sent, the contract's limit; items seen only before them are excluded by id. The time of
    the question is a microsecond after the newest event of the history, the first moment at which all of it is
    known (`as_of` means "before"): later, and the time itself would tell of the test. Without a history it is not set.
    """
    sent = history[-MAX_HISTORY:]
    seen = frozenset(event.item_id for event in history)
    question = Question(
        history=tuple(HistoryEvent(one.item_id, one.type, one.timestamp, one.value, one.text) for one in sent),
        as_of=sent[-1].timestamp + JUST_AFTER if sent else None,
        exclude=seen - {event.item_id for event in sent},
    )
    return Query(user_id, question, relevant, seen, history_length)


def catalogue_of(snapshot: LogSnapshot, events: Iterable[Event]) -> tuple[str, ...]:
    """Returns every item that can be in an answer: of the catalogue, or known from events alone; sorted."""
    return tuple(sorted(snapshot.item_ids | {event.item_id for event in events}))


def rules_in_words(rules: PreferenceRules) -> str:
    """Returns which events make an item relevant."""
    always = ", ".join(
        kind.name
        for kind, weight in rules.weights.items()
        if weight > 0 and kind not in (EventType.RATING, EventType.REVIEW, EventType.PLAY)
    )
    return (
        f"A positive is a rating (also of a review) of {rules.positive_rating:g} or more, a review without a rating, "
        f"a play of {rules.positive_play:g} or more, or any of {always}."
    )
