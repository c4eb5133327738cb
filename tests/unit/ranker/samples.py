"""Small real data: rules, events."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.data.nouns import Event, EventType, HistoryEvent
from shared.data.preferences import PreferenceRules

START = datetime(2020, 1, 1, tzinfo=UTC)
RULES = PreferenceRules()


def rating(user: str, item: str, value: float, day: int) -> Event:
    when = START + timedelta(days=day)
    return Event(f"{user}-{item}-{day}", user, item, EventType.RATING, when, value)


def seen(item: str, value: float = 5.0, day: int = 0, kind: EventType = EventType.RATING, text: str = ""):
    return HistoryEvent(item, kind, START + timedelta(days=day), value if kind is EventType.RATING else None, text)
