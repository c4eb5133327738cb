"""What a user's history says, ready for features: the same for a live request and a training list."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.history_mark import HistoryMark
from shared.data.nouns import EventType, temperature
from shared.data.texts import recency_weights

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from services.ranker.items.arrays import F32
    from shared.data.nouns import HistoryEvent, Temperature
    from shared.data.preferences import PreferenceRules

SESSION_S = 1_800
"""Events of this many seconds before the question are the session."""
MAX_SESSION = 20
MAX_JUDGED = 40
"""Newest judged items whose vectors are read."""
JUDGED_HALF_LIFE = 20.0


@dataclass(frozen=True)
class UserProfile:
    """A history, oldest first, read by the preference rules.

    `liked`: item ids, oldest first. `rated`: (item id, rating) of rated events. `events` counts what the user did,
    impressions aside.
    """

    history: tuple[HistoryEvent, ...]
    liked: tuple[str, ...]
    rated: tuple[tuple[str, float], ...]
    reviews: tuple[str, ...]
    events: int
    judged: tuple[tuple[str, float], ...] = ()
    """(item id, strength) of the newest judged items, oldest first: above 0 liked, below 0 disliked."""

    @cached_property
    def mark(self) -> HistoryMark:
        """Stands for the history; the same for an equal one."""
        return HistoryMark.of(self.history)

    @property
    def temperature(self) -> Temperature:
        """How much is known of the user."""
        return temperature(self.events)

    @classmethod
    def of(cls, history: Sequence[HistoryEvent], preferences: PreferenceRules) -> UserProfile:
        """Returns the profile of a history, oldest first."""
        counting = tuple(event for event in history if preferences.counts(event))
        rated = (EventType.RATING, EventType.REVIEW)
        signals = [preferences.signal(event) for event in counting]
        positive = [event for event, signal in zip(counting, signals, strict=True) if signal > 0]
        # Of an item liked twice, the later time counts.
        liked = dict.fromkeys(event.item_id for event in reversed(positive))
        return cls(
            history=counting,
            liked=tuple(reversed(liked)),
            rated=tuple((e.item_id, e.value) for e in counting if e.type in rated and e.value is not None),
            reviews=tuple(event.text for event in positive if event.text),
            events=len(counting),
            judged=_judged(counting, signals),
        )

    def session(self, at_second: int) -> list[str]:
        """Returns the items of the session that the question is asked in, newest last; at most the newest 20."""
        newest = self.history[-MAX_SESSION:]
        return [event.item_id for event in newest if 0 <= at_second - _second(event.timestamp) <= SESSION_S]

    def session_events(self, at_second: int) -> int:
        """Returns the number of events in the session."""
        count = 0
        for event in reversed(self.history):
            if at_second - _second(event.timestamp) > SESSION_S:
                break
            count += 1
        return count

    def hours_since(self, at_second: int) -> float:
        """Returns the hours from the newest event to the question; NaN without events."""
        if not self.history:
            return float("nan")
        return max(at_second - _second(self.history[-1].timestamp), 0) / 3_600


@dataclass(frozen=True)
class TextProfile:
    """Centred vectors of liked texts, float32 (m, dim) of length 1, oldest first; m is at least 1.

    The first `reviews` of them are the user's own reviews.
    """

    vectors: F32
    reviews: int = 0

    @property
    def weights(self) -> F32:
        """Weight of each text by its place from the newest, float32 (m,), sum 1."""
        return np.asarray(recency_weights(len(self.vectors)), dtype=np.float32)

    @property
    def centre(self) -> F32:
        """The weighted mean at length 1: float32 (dim,)."""
        mean = self.weights @ self.vectors
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), dtype=np.float32)


def review_count(reviews: Sequence[str], limit: int) -> int:
    """Returns how many of the texts that `profile_texts` returns are reviews: they come first."""
    return len(reviews[-max(limit // 4, 1) :])


def _second(time: datetime) -> int:
    return int(time.timestamp())


def _judged(events: Sequence[HistoryEvent], signals: Sequence[float]) -> tuple[tuple[str, float], ...]:
    """Returns the newest judged items, each with its newest judgement; what is rated high or low counts more.

    The strength is the signal times 1 + half the rating's distance from the user's mean, in standard deviations.
    """
    ratings = np.array([event.value for event in events if event.value is not None], dtype=np.float32)
    mean, spread = (float(ratings.mean()), max(float(ratings.std()), 0.25)) if len(ratings) else (0.0, 1.0)
    found: dict[str, float] = {}
    for event, signal in zip(reversed(events), reversed(signals), strict=True):
        if signal == 0 or event.item_id in found:
            continue
        above = 0.0
        if event.value is not None and event.type in (EventType.RATING, EventType.REVIEW):
            above = (event.value - mean) / spread
        found[event.item_id] = signal * min(max(1 + 0.5 * above * (1 if signal > 0 else -1), 0.25), 2.0)
        if len(found) == MAX_JUDGED:
            break
    return tuple(reversed(found.items()))
