"""Small real data: a catalogue, a history, a table."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.ranker.items.table import ItemTable
from shared.data.nouns import Event, EventType, HistoryEvent, Item
from shared.data.preferences import PreferenceRules

START = datetime(2020, 1, 1, tzinfo=UTC)
RULES = PreferenceRules()


def rating(user: str, item: str, value: float, day: int) -> Event:
    when = START + timedelta(days=day)
    return Event(f"{user}-{item}-{day}", user, item, EventType.RATING, when, value)


def seen(item: str, value: float = 5.0, day: int = 0, kind: EventType = EventType.RATING, text: str = ""):
    return HistoryEvent(item, kind, START + timedelta(days=day), value if kind is EventType.RATING else None, text)


@pytest.fixture
def items() -> list[Item]:
    return [
        Item("a", title="Alien", categories=("Horror", "Sci-Fi"), attributes={"year": 1979.0, "price": 3.0}),
        Item("b", title="Brazil", categories=("Sci-Fi",), attributes={"year": 1985.0}),
        Item("c", title="Casablanca", categories=("Drama", "Romance"), attributes={"year": 1942.0, "price": 5.0}),
        Item("d", title="Delicatessen", categories=("Comedy",)),
    ]


@pytest.fixture
def table(items) -> ItemTable:
    made = ItemTable(RULES)
    for item in items:
        made.put_item(item)
    for row, vector in enumerate(([1, 0, 0], [0.8, 0.6, 0], [0, 0, 1])):
        made.vectors.put(row, np.array(vector, dtype=np.float32))
    for user, item, value, day in (
        ("u", "a", 5, 0), ("v", "a", 4, 400), ("w", "a", 2, 800), ("u", "b", 4, 10), ("v", "c", 3, 20),
    ):  # fmt: skip
        made.put_event(rating(user, item, value, day))
    made.embedding_version = "e1"
    return made
