"""Events and items for tests of whatever stores or carries them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from shared.data.nouns import Event, EventType, Item

START = datetime(2020, 1, 1, 12, 0, 0, 123_456, tzinfo=UTC)
ALL_BUT_IMPRESSIONS = frozenset(EventType) - {EventType.IMPRESSION}
NOTHING: frozenset[EventType] = frozenset()


def event(number: int, user: str = "u1", item: str | None = None, kind: EventType = EventType.CLICK) -> Event:
    """Returns event `number`, one second after the one before."""
    return Event(f"e{number}", user, item or f"i{number}", kind, START + timedelta(seconds=number))


FULL_EVENT = Event(
    event_id="full",
    user_id="ü1",
    item_id="物1",
    type=EventType.REVIEW,
    timestamp=START,
    value=-1.5,
    text="nice\x00 and 'quoted' 🎬",
    session_id="s",
    attribution_token="t",  # noqa: S106 (not a password)
    position=7,
    propensity=0.25,
)
FULL_ITEM = Item(
    item_id="物1",
    title="Ein Titel",
    text="x" * 1000,
    categories=("drama", "war"),
    attributes={"year": 1994.0, "brand": "b", "new": True, "tags": ("a", "b"), "when": START},
    available_from=START,
    available_until=START + timedelta(days=1),
    vectors={"image": np.arange(3, dtype=np.float32)},
)
