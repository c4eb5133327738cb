"""The catalogue as it stands now: titles, texts, attributes, availability; what a filter asks of it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import datetime

    from shared.data.nouns import AttributeRule, Item, ItemFilter


class Catalogue:
    """Items by id. Deleted items are remembered by id until they are written again."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._deleted: set[str] = set()
        self._timed: set[str] = set()
        self.attribute_names: set[str] = set()
        """Names of attributes that an item has or had."""

    def __len__(self) -> int:
        return len(self._items)

    def put(self, item: Item) -> None:
        """Takes an item; vectors that the caller brought along are not kept."""
        self._items[item.item_id] = replace(item, vectors={})
        self._deleted.discard(item.item_id)
        if item.available_from is None and item.available_until is None:
            self._timed.discard(item.item_id)
        else:
            self._timed.add(item.item_id)
        self.attribute_names.update(item.attributes)

    def delete(self, item_id: str) -> None:
        """Forgets an item."""
        # In this order: a thread that reads meanwhile finds it deleted, and never timed without an item.
        self._deleted.add(item_id)
        self._timed.discard(item_id)
        self._items.pop(item_id, None)

    def get(self, item_id: str) -> Item | None:
        """Returns an item; None when it is not in the catalogue."""
        return self._items.get(item_id)

    def title(self, item_id: str) -> str:
        """Returns an item's title; empty when it is not known."""
        item = self._items.get(item_id)
        return "" if item is None else item.title

    def items(self) -> Iterable[Item]:
        """Returns all items."""
        return self._items.values()

    def matches(self, condition: ItemFilter) -> Callable[[str], bool]:
        """Returns a test of one item id: in the catalogue, and all parts of the condition hold."""
        items = self._items

        def matching(item_id: str) -> bool:
            item = items.get(item_id)
            return item is not None and _matches(item, condition)

        return matching

    def allows(self, item_filter: ItemFilter, at: datetime) -> Callable[[str], bool]:
        """Returns a test of one item id: not excluded, not deleted, available `at` that time, and within the rules.

        An item that was never written (events only) passes when the filter asks nothing of items.
        """
        excluded, deleted, items, timed = item_filter.exclude_item_ids, self._deleted, self._items, self._timed

        def allowed(item_id: str) -> bool:
            # Asked of every candidate of every call; most items are always available, most filters read none.
            if item_id in excluded or item_id in deleted:
                return False
            if item_id not in timed:
                return True
            item = items.get(item_id)
            return item is not None and _available(item, at)

        if not item_filter.reads_items:
            return allowed

        def matching(item_id: str) -> bool:
            item = items.get(item_id)
            return item is not None and allowed(item_id) and _matches(item, item_filter)

        return matching


def _available(item: Item, at: datetime) -> bool:
    if item.available_from is not None and at < item.available_from:
        return False
    return item.available_until is None or at < item.available_until


def _matches(item: Item, item_filter: ItemFilter) -> bool:
    categories = set(item.categories)
    if item_filter.categories_any and not categories & item_filter.categories_any:
        return False
    if not item_filter.categories_all <= categories or categories & item_filter.categories_none:
        return False
    return all(_holds(item, rule) for rule in item_filter.attributes)


def _holds(item: Item, rule: AttributeRule) -> bool:
    value = item.attributes.get(rule.name)
    if value is None:
        return False
    if rule.any_of is not None:
        words = value if isinstance(value, tuple) else (value,)
        return any(word in rule.any_of for word in words if isinstance(word, str))
    if rule.equals is not None:
        return isinstance(value, bool) and value is rule.equals
    if isinstance(value, bool) or not isinstance(value, int | float) or rule.range is None:
        return False
    low, high = rule.range
    return (low is None or value >= low) and (high is None or value <= high)
