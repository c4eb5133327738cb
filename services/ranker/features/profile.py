"""What a user's history says, ready for features: the same for a live request and a training list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shared.data.nouns import EventType, temperature
from shared.data.texts import recency_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.items.arrays import F32
    from shared.data.nouns import HistoryEvent, Temperature
    from shared.data.preferences import PreferenceRules


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

    @property
    def temperature(self) -> Temperature:
        """How much is known of the user."""
        return temperature(self.events)

    @classmethod
    def of(cls, history: Sequence[HistoryEvent], preferences: PreferenceRules) -> UserProfile:
        """Returns the profile of a history, oldest first."""
        counting = tuple(event for event in history if preferences.counts(event))
        rated = (EventType.RATING, EventType.REVIEW)
        positive = [event for event in counting if preferences.signal(event) > 0]
        # Of an item liked twice, the later time counts.
        liked = dict.fromkeys(event.item_id for event in reversed(positive))
        return cls(
            history=counting,
            liked=tuple(reversed(liked)),
            rated=tuple((e.item_id, e.value) for e in counting if e.type in rated and e.value is not None),
            reviews=tuple(event.text for event in positive if event.text),
            events=len(counting),
        )


@dataclass(frozen=True)
class TextProfile:
    """Centred vectors of liked texts, float32 (m, dim) of length 1, oldest first; m is at least 1."""

    vectors: F32

    @property
    def weights(self) -> F32:
        """Weight of each text by its place from the newest, float32 (m,), sum 1."""
        return np.asarray(recency_weights(len(self.vectors)), dtype=np.float32)

    @property
    def centre(self) -> F32:
        """The weighted mean at length 1: float32 (dim,)."""
        mean = self.weights @ self.vectors
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), dtype=np.float32)
