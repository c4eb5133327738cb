"""What is learned from: the texts of items, and who liked what."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shared.data.folds import visible_events
from shared.data.splits import MIN_POSITIVES_TO_HIDE, Stage, by_user
from shared.data.texts import item_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from services.embedding.training.parameters import FinetuneParameters
    from shared.data.log import LogSnapshot
    from shared.data.nouns import Event, Item
    from shared.data.preferences import PreferenceRules
    from shared.data.splits import Protocol

MIN_LIKED_ITEMS = 10
"""Fewer are nothing to learn from."""


class NothingToLearn(Exception):
    """The log holds nothing to train on; the message says what to do."""


@dataclass(frozen=True, eq=False)
class Likes:
    """Who liked what: user u's items are `items[starts[u]:starts[u + 1]]`, the oldest like first."""

    items: NDArray[np.int64]
    """Rows of the corpus, (likes,)."""
    starts: NDArray[np.int64]
    """(users + 1,)."""

    @property
    def users(self) -> NDArray[np.int64]:
        """The user of each like, (likes,)."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))

    def of(self, user: int) -> NDArray[np.int64]:
        """Returns the items of a user."""
        return self.items[self.starts[user] : self.starts[user + 1]]

    def per_item(self, items: int) -> NDArray[np.int64]:
        """Returns the number of likes of each of so many items."""
        return np.bincount(self.items, minlength=items)

    def only(self, wanted: NDArray[np.bool_]) -> Likes:
        """Returns the likes of the items where `wanted`, bool (items,), holds. Users stay, even without any."""
        kept = wanted[self.items]
        counts = np.bincount(self.users[kept], minlength=len(self.starts) - 1)
        return Likes(self.items[kept], np.concatenate([[0], np.cumsum(counts)]))


@dataclass(frozen=True, eq=False)
class Corpus:
    """The items that have a text, and the likes that the training may see."""

    items: tuple[Item, ...]
    texts: tuple[str, ...]
    """Of each item, not empty."""
    likes: Likes
    train: Likes
    """The likes without the validation fold's items."""
    hidden: NDArray[np.int64]
    """The validation fold: rows of items, ascending; no like of them is in `train`."""
    sequence: int
    """Last record of the log that was read."""
    events: int
    """Events that were visible."""


def make_corpus(
    snapshot: LogSnapshot, rules: PreferenceRules, protocol: Protocol, stage: Stage, parameters: FinetuneParameters
) -> Corpus:
    """Returns what a training of this protocol and stage may see; hidden items keep their text and lose their events.

    Raises:
        NothingToLearn: no events, no items with text, or too few likes.

    """
    if not snapshot.items:
        raise NothingToLearn("there are no items in the catalogue: run `fusionrec import items FILE` first")
    if not snapshot.events:
        raise NothingToLearn("there are no events to learn from: run `fusionrec import events FILE` first")
    counting = [event for event in snapshot.events if rules.counts(event)]
    visible = counting
    if stage is not Stage.SERVING:
        visible = visible_events(protocol, counting, lambda event: rules.signal(event) > 0)
    liked = _newest(_liked(visible, rules), parameters.max_likes)
    items = _kept(snapshot.items, liked, parameters.max_items)
    if not items:
        raise NothingToLearn("no item has a title or a text: there is nothing to read")
    rows = {item.item_id: row for row, item in enumerate(items)}
    likes = _likes(liked, rows)
    counts = likes.per_item(len(items))
    if np.count_nonzero(counts) < MIN_LIKED_ITEMS or not (np.diff(likes.starts) > 1).any():
        raise NothingToLearn(
            f"{np.count_nonzero(counts)} items with a text are liked: at least {MIN_LIKED_ITEMS} are needed, "
            f"and a user who likes two of them (ratings count from {rules.positive_rating:g} on)"
        )
    hidden = _fold(items, counts, parameters.validation_share)
    shown = np.ones(len(items), bool)
    shown[hidden] = False
    texts = tuple(item_text(item) for item in items)
    return Corpus(items, texts, likes, likes.only(shown), hidden, snapshot.sequence, len(visible))


def _liked(events: Iterable[Event], rules: PreferenceRules) -> dict[str, list[Event]]:
    """Returns each user's events that stand for a like: an item's last judgement decides."""
    found = {}
    for user, own in sorted(by_user(events).items()):
        last = {event.item_id: event for event in own if rules.signal(event) != 0}
        found[user] = [event for event in last.values() if rules.signal(event) > 0]
        found[user].sort(key=lambda event: event.timestamp)
    return found


def _newest(liked: dict[str, list[Event]], most: int) -> dict[str, list[Event]]:
    count = sum(map(len, liked.values()))
    if count <= most:
        return liked
    times = sorted((event.timestamp for own in liked.values() for event in own), reverse=True)
    oldest = times[most - 1]
    return {user: [event for event in own if event.timestamp >= oldest] for user, own in liked.items()}


def _kept(items: Mapping[str, Item], liked: Mapping[str, Sequence[Event]], most: int) -> tuple[Item, ...]:
    """Returns the items with a text; of too many, those that are liked most."""
    readable = [item for item in items.values() if item_text(item)]
    if len(readable) > most:
        counts: dict[str, int] = {}
        for own in liked.values():
            for event in own:
                counts[event.item_id] = counts.get(event.item_id, 0) + 1
        readable = sorted(readable, key=lambda item: -counts.get(item.item_id, 0))[:most]
    return tuple(readable)


def _likes(liked: Mapping[str, Sequence[Event]], rows: Mapping[str, int]) -> Likes:
    own = [[rows[event.item_id] for event in events if event.item_id in rows] for events in liked.values()]
    starts = np.concatenate([[0], np.cumsum([len(one) for one in own])]).astype(np.int64)
    return Likes(np.array([row for one in own for row in one], np.int64), starts)


def _fold(items: Sequence[Item], counts: NDArray[np.int64], share: float) -> NDArray[np.int64]:
    """Returns the rows of the validation fold: the first share, by a salted hash, of the items liked often enough."""
    often = [row for row in range(len(items)) if counts[row] >= MIN_POSITIVES_TO_HIDE]

    def place(row: int) -> str:
        # Salted: neither the protocols' hidden fifth nor the ranker's folds may decide this choice.
        return hashlib.sha256(f"finetune:{items[row].item_id}".encode()).hexdigest()

    return np.array(sorted(sorted(often, key=place)[: round(share * len(often))]), np.int64)
