"""Which rows have which category and attribute value: what makes filters fast."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.arrays import GrowingArray

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from services.candidates.arrays import Mask
    from shared.data.nouns import AttributeRule, Item, ItemFilter

_Key = tuple[str, str, str | bool]


class Postings:
    """Sets of rows by category, by attribute word and truth value; columns of numbers by attribute name."""

    def __init__(self) -> None:
        self._rows: defaultdict[_Key, set[int]] = defaultdict(set)
        self._numbers: dict[str, GrowingArray[np.float64]] = {}
        self.attribute_names: set[str] = set()
        """Names of all attributes that an item ever had."""

    def add(self, row: int, item: Item) -> None:
        """Enters an item."""
        self.attribute_names.update(item.attributes)
        for key in _keys(item):
            self._rows[key].add(row)
        for name, value in _numbers(item):
            column = self._numbers.get(name)
            if column is None:
                column = self._numbers[name] = GrowingArray(np.zeros(0, np.float64), np.nan)
            column.grow(row + 1)
            column.values[row] = value

    def remove(self, row: int, item: Item, *, but: Item | None = None) -> None:
        """Takes out what `add` entered, but for what `but`, entered in the same row, has as well."""
        kept = set() if but is None else set(_keys(but))
        for key in set(_keys(item)) - kept:
            self._rows[key].discard(row)
            if not self._rows[key]:
                del self._rows[key]
        numbers = set() if but is None else {name for name, _ in _numbers(but)}
        for name, _ in _numbers(item):
            if name not in numbers:
                self._numbers[name].values[row] = np.nan

    def narrow(self, mask: Mask, item_filter: ItemFilter) -> None:
        """Sets to False what the filter's categories and rules do not allow, in place."""
        if not item_filter.reads_items:
            return
        size = len(mask)
        if item_filter.categories_any:
            mask &= self._any((("category", "", name) for name in item_filter.categories_any), size)
        for name in item_filter.categories_all:
            mask &= self._any([("category", "", name)], size)
        if item_filter.categories_none:
            mask &= ~self._any((("category", "", name) for name in item_filter.categories_none), size)
        for rule in item_filter.attributes:
            mask &= self._rule(rule, size)

    def _rule(self, rule: AttributeRule, size: int) -> Mask:
        if rule.any_of is not None:
            return self._any((("word", rule.name, value) for value in rule.any_of), size)
        if rule.range is not None:
            return self._in_range(rule.name, rule.range, size)
        return self._any([("truth", rule.name, bool(rule.equals))], size)

    def _in_range(self, name: str, ends: tuple[float | None, float | None], size: int) -> Mask:
        found = np.zeros(size, bool)
        column = self._numbers.get(name)
        if column is not None:
            values = column.values[:size]
            low = -np.inf if ends[0] is None else ends[0]
            high = np.inf if ends[1] is None else ends[1]
            # Comparisons with NaN are False: an item without the attribute does not match.
            found[: len(values)] = (values >= low) & (values <= high)
        return found

    def _any(self, keys: Iterable[_Key], size: int) -> Mask:
        found = np.zeros(size, bool)
        for key in keys:
            # Copied in one step of the interpreter: the writer may add to the set meanwhile.
            rows = np.array(list(self._rows.get(key, ())), np.int64)
            found[rows[rows < size]] = True
        return found


def _keys(item: Item) -> Iterator[_Key]:
    for category in item.categories:
        yield ("category", "", category)
    for name, value in item.attributes.items():
        if isinstance(value, bool):
            yield ("truth", name, value)
        elif isinstance(value, str):
            yield ("word", name, value)
        elif isinstance(value, tuple):
            for one in value:
                yield ("word", name, one)


def _numbers(item: Item) -> Iterator[tuple[str, float]]:
    for name, value in item.attributes.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, float(value)
