"""What an event says about a preference: one signal per event, the same in every service.

The sign is the judgement, the size the confidence: RATING 4 of 5 and better is a positive of weight 1,
a lower one a negative; a PLAY counts from half of it on; an IMPRESSION says nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Mapping


class _Signalling(Protocol):
    @property
    def item_id(self) -> str: ...
    @property
    def type(self) -> EventType: ...
    @property
    def value(self) -> float | None: ...


DEFAULT_WEIGHTS: Mapping[EventType, float] = {
    EventType.IMPRESSION: 0.0,
    EventType.VIEW: 0.2,
    EventType.CLICK: 0.4,
    EventType.RATING: 1.0,
    EventType.REVIEW: 1.0,
    EventType.LIKE: 1.0,
    EventType.DISLIKE: -1.0,
    EventType.ADD_TO_CART: 0.7,
    EventType.PURCHASE: 1.0,
    EventType.PLAY: 0.6,
}


@dataclass(frozen=True)
class PreferenceRules:
    """How events become signals. Weights are unitless confidences, 0 meaning "says nothing"."""

    weights: Mapping[EventType, float] = field(default_factory=lambda: dict(DEFAULT_WEIGHTS))
    positive_rating: float = 4.0
    """Ratings from this value on are positives; lower ones are negatives."""
    positive_play: float = 0.5
    """Fractions played from this value on are positives; shorter plays say nothing."""

    def signal(self, event: _Signalling) -> float:
        """Returns the signed confidence of one event: above 0 liked, below 0 disliked, 0 says nothing."""
        weight = self.weights.get(event.type, 0.0)
        if event.type in (EventType.RATING, EventType.REVIEW) and event.value is not None:
            return weight if event.value >= self.positive_rating else -weight
        if event.type is EventType.PLAY:
            played = 1.0 if event.value is None else event.value
            return weight if played >= self.positive_play else 0.0
        return weight

    def counts(self, event: _Signalling) -> bool:
        """Returns whether the event is part of what a user did (everything but IMPRESSION)."""
        return event.type is not EventType.IMPRESSION
