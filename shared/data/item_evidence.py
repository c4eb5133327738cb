"""What reviews say of an item: which are kept, and how they become part of the item's vector.

One rule for candidates and ranker, live and in training. A review describes the item whether its writer liked it or
not, so the rating plays no part.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from shared.data.nouns import Event, EventType

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

MAX_SHARE = 0.25
"""Share of the reviews in an item's vector that is never passed, however many there are."""
SHRINKAGE = 1.0
"""Reviews at which they have half of `MAX_SHARE`."""
REVIEWS_OF_ITEM = 8
"""Newest reviews kept of an item, one of each user."""
MAX_REVIEWS = 200_000
"""Reviews kept in all; those of the items that were reviewed longest ago go first."""
MAX_REVIEW_CHARACTERS = 1_000
"""Characters of a review that are read."""


def mixed(
    own: NDArray[np.float32] | None,
    reviews: NDArray[np.float32],
    share: float = MAX_SHARE,
    shrinkage: float = SHRINKAGE,
) -> NDArray[np.float32]:
    """Returns an item's vector with its reviews, float32 (dim,), length 1.

    (1 - w) own + w mean(reviews), brought to length 1, where w = share · m / (m + shrinkage) for m reviews. Without a
    text of its own the item is what its reviews say.

    Args:
        own: unit vector of the item's own text, (dim,); None where it has none.
        reviews: unit vectors of its reviews, (m, dim); `own` comes back unchanged when m is 0.
        share: see `MAX_SHARE`.
        shrinkage: see `SHRINKAGE`.

    Raises:
        ValueError: neither a text nor a review.

    """
    count = len(reviews)
    if own is None and not count:
        raise ValueError("an item without text and reviews has no vector")
    if own is not None and not count:
        return own
    mean = reviews.mean(axis=0, dtype=np.float64)
    if own is not None:
        weight = share * count / (count + shrinkage)
        mean = (1.0 - weight) * own + weight * mean
    return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-9), np.float32)


class ItemReviews:
    """The newest reviews of every item, within bounds. Reviews come in the order of the log."""

    def __init__(self, per_item: int = REVIEWS_OF_ITEM, in_all: int = MAX_REVIEWS) -> None:
        self._per_item = per_item
        self._in_all = in_all
        self._items: OrderedDict[str, OrderedDict[str, str]] = OrderedDict()
        self._count = 0

    @classmethod
    def of(cls, events: Iterable[Event]) -> ItemReviews:
        """Returns the reviews among events, which may come in any order."""
        reviews = cls()
        for event in sorted((one for one in events if one.type is EventType.REVIEW), key=lambda one: one.timestamp):
            reviews.add(event)
        return reviews

    @classmethod
    def from_json(cls, content: Mapping[str, Mapping[str, str]]) -> ItemReviews:
        """Returns what `to_json` made."""
        reviews = cls()
        for item_id, own in content.items():
            reviews._items[item_id] = OrderedDict(own)
            reviews._count += len(own)
        return reviews

    def to_json(self) -> dict[str, dict[str, str]]:
        """Returns the texts by item and user, oldest first."""
        return {item_id: dict(own) for item_id, own in self._items.items()}

    def __len__(self) -> int:
        """Reviews kept."""
        return self._count

    def __iter__(self) -> Iterator[str]:
        """Items that have reviews."""
        return iter(self._items)

    def add(self, event: Event) -> list[str]:
        """Takes a review; returns the items whose reviews are other ones now, the event's own first.

        Empty when the event is no review with words. A user's second review of an item replaces the first. Past
        `in_all` other items lose theirs: their vectors must be made anew as well, because what is not kept here is
        not found when its writer is forgotten.
        """
        text = event.text.strip()[:MAX_REVIEW_CHARACTERS]
        if event.type is not EventType.REVIEW or not text:
            return []
        own = self._items.setdefault(event.item_id, OrderedDict())
        self._items.move_to_end(event.item_id)
        self._count -= own.pop(event.user_id, None) is not None
        own[event.user_id] = text
        self._count += 1
        if len(own) > self._per_item:
            own.popitem(last=False)
            self._count -= 1
        changed = [event.item_id]
        while self._count > self._in_all:
            item_id, oldest = self._items.popitem(last=False)
            self._count -= len(oldest)
            if item_id != event.item_id:
                changed.append(item_id)
        return changed

    def forget(self, user_id: str) -> list[str]:
        """Drops a user's reviews; returns the items that had one."""
        touched = [item_id for item_id, own in self._items.items() if user_id in own]
        for item_id in touched:
            del self._items[item_id][user_id]
            self._count -= 1
            if not self._items[item_id]:
                del self._items[item_id]
        return touched

    def remove(self, item_id: str) -> None:
        """Drops the reviews of an item that was deleted."""
        self._count -= len(self._items.pop(item_id, ()))

    def clear(self) -> None:
        """Drops everything."""
        self._items.clear()
        self._count = 0

    def texts(self, item_id: str) -> Sequence[str]:
        """Returns the texts of an item's reviews, oldest first."""
        return tuple(self._items.get(item_id, {}).values())


def review_texts(every: Iterable[ItemReviews]) -> list[str]:
    """Returns the distinct texts of all reviews."""
    return list(dict.fromkeys(text for one in every for item_id in one for text in one.texts(item_id)))
