"""The nouns that all services share: what users do, what can be recommended, what the log holds."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray


class EventType(IntEnum):
    """What a user did; the numbers of `fusionrec.common.v1.EventType`."""

    IMPRESSION = 1
    VIEW = 2
    CLICK = 3
    RATING = 4
    REVIEW = 5
    LIKE = 6
    DISLIKE = 7
    ADD_TO_CART = 8
    PURCHASE = 9
    PLAY = 10


class SeenPolicy(IntEnum):
    """Which items of the history may come again; the numbers of `fusionrec.common.v1.SeenPolicy`."""

    HIDE_ALL_SEEN = 1
    HIDE_BOUGHT = 2
    ALLOW_REPEATS = 3


class Temperature(IntEnum):
    """How much is known of a user; the numbers of `fusionrec.common.v1.UserTemperature`."""

    COLD = 1
    WARM = 2
    HOT = 3


HOT_FROM_EVENTS = 10
"""A user with this many events that count is HOT."""


def temperature(counting_events: int) -> Temperature:
    """Returns the temperature of a user with this many events, impressions aside."""
    if counting_events <= 0:
        return Temperature.COLD
    return Temperature.HOT if counting_events >= HOT_FROM_EVENTS else Temperature.WARM


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that one user did to one item. `timestamp` is timezone-aware UTC.

    `propensity`: probability with which an impression was shown at its position; None where it is not known.
    """

    event_id: str
    user_id: str
    item_id: str
    type: EventType
    timestamp: datetime
    value: float | None = None
    text: str = ""
    session_id: str = ""
    attribution_token: str = ""
    position: int = 0
    propensity: float | None = None


AttributeValue = str | float | bool | tuple[str, ...] | datetime
"""A typed attribute: a word, a number, a truth value, a list of words, a point in time."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that can be recommended. `vectors` are float32 arrays of shape (dim,), by space."""

    item_id: str
    title: str = ""
    text: str = ""
    categories: tuple[str, ...] = ()
    attributes: Mapping[str, AttributeValue] = field(default_factory=dict)
    available_from: datetime | None = None
    available_until: datetime | None = None
    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    created_at: datetime | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class HistoryEvent:
    """One entry of a user's history. `timestamp` is timezone-aware UTC."""

    item_id: str
    type: EventType
    timestamp: datetime
    value: float | None = None
    text: str = ""


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """An item was deleted from the catalogue."""

    item_id: str


@dataclass(frozen=True, slots=True)
class UserForgotten:
    """A user was erased: followers drop what they keep of them."""

    user_id: str


@dataclass(frozen=True, slots=True)
class LogRecord:
    """One record of the log; `sequence` grows, not without gaps."""

    sequence: int
    appended_at: datetime
    body: Event | Item | ItemDeleted | UserForgotten


@dataclass(frozen=True, slots=True)
class AttributeRule:
    """A rule on one attribute; exactly one of the three is set. Items without the attribute do not match.

    `any_of`: the string attribute (or one of a list) is one of these. `range`: the number lies in
    [min, max], ends included, None for open. `equals`: the bool has this value.
    """

    name: str
    any_of: tuple[str, ...] | None = None
    range: tuple[float | None, float | None] | None = None
    equals: bool | None = None


@dataclass(frozen=True, slots=True)
class ItemFilter:
    """Which items are allowed; all set parts must hold."""

    categories_any: frozenset[str] = frozenset()
    categories_all: frozenset[str] = frozenset()
    categories_none: frozenset[str] = frozenset()
    attributes: tuple[AttributeRule, ...] = ()
    exclude_item_ids: frozenset[str] = frozenset()

    @property
    def reads_items(self) -> bool:
        """True when the filter needs the item, not only its id."""
        return bool(self.categories_any or self.categories_all or self.categories_none or self.attributes)
