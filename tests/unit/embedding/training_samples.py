"""A small catalogue with two tastes: what is about space is liked by some, what is about love by others."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np

from shared.data.log import LogSnapshot
from shared.data.nouns import Event, EventType, Item

START = datetime(2026, 1, 1, tzinfo=UTC)


def two_tastes(users: int = 40, items: int = 60, likes: int = 12, seed: int = 0) -> LogSnapshot:
    random = np.random.default_rng(seed)
    catalogue = {}
    for number in range(items):
        topic, letter = ("space", "love")[number % 2], chr(ord("b") + number // 2 % 25)
        catalogue[str(number)] = Item(str(number), title=f"a film about {topic} {letter}", categories=("film",))
    events = []
    for user in range(users):
        own = [number for number in range(items) if number % 2 == user % 2]
        for turn, number in enumerate(random.choice(own, likes, replace=False).tolist()):
            at = START + timedelta(minutes=turn, days=user)
            events.append(Event(f"{user}-{turn}", f"u{user:03d}", str(number), EventType.RATING, at, value=5.0))
    return LogSnapshot(events, catalogue, sequence=len(events) + items)
