"""The item table: ids to rows, and which rows may be recommended at a time."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.arrays import GrowingArray
from services.candidates.catalogue.postings import Postings
from services.candidates.catalogue.times import Times
from services.candidates.index.allowed import Allowed
from shared.errors import InvalidField, shown

if TYPE_CHECKING:
    from datetime import datetime

    from services.candidates.arrays import I64, Mask
    from shared.data.nouns import Item, ItemFilter

MAX_SHOWN_NAMES = 20
"""Attribute names that an error lists."""


@dataclass(frozen=True, eq=False)
class _Alive:
    """The rows that hold an item after so many writes to the table."""

    writes: int
    rows: Allowed


class ItemTable:
    """Rows are given in order of arrival and never change. One writer, readers in other threads.

    An id can have a row before its item arrives (events came first), and keeps it when the item is deleted.
    """

    def __init__(self) -> None:
        self.rows: dict[str, int] = {}
        self.ids: list[str] = []
        self.removals = 0
        """Counts what narrows the choice: items taken out or replaced."""
        self.writes = 0
        """Counts all writes."""
        self._items: list[Item | None] = []
        self._fingerprints: list[str] = []
        self._alive = GrowingArray(np.zeros(0, bool), False)
        self._from = GrowingArray(np.zeros(0, np.float64), -np.inf)
        self._until = GrowingArray(np.zeros(0, np.float64), np.inf)
        self._windowed: set[int] = set()
        """Rows of items that are not available at all times: few, so that the others need no look at the clock."""
        self._changes = Times()
        """When an item becomes available or stops being so; also of windows that were replaced since."""
        self._postings = Postings()
        self._kept_alive: _Alive | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def alive_count(self) -> int:
        """Items in the catalogue."""
        return int(self._alive.values.sum())

    def row_of(self, item_id: str) -> int:
        """Returns the row of an id, a new one when it has none."""
        row = self.rows.get(item_id)
        if row is None:
            row = len(self.ids)
            self._items.append(None)
            self._fingerprints.append("")
            self.ids.append(item_id)
            # Readers take their size from `_alive`: it grows when all else that they look up by row is there.
            for column in (self._from, self._until, self._alive):
                column.grow(row + 1)
            self.rows[item_id] = row
        return row

    def put(self, item: Item, item_fingerprint: str | None = None) -> tuple[int, bool]:
        """Adds or replaces an item; returns its row and whether what the models read of it has changed.

        Args:
            item: the item.
            item_fingerprint: `fingerprint(item)`, when that was computed from more than `item` holds.

        """
        row = self.row_of(item.item_id)
        # The new ones come before the old ones go: a rule that keeps an item out holds while the item is replaced.
        old, self._items[row] = self._items[row], item
        self.removals += old is not None
        self._postings.add(row, item)
        if old is not None:
            self._postings.remove(row, old, but=item)
        window = (
            -np.inf if item.available_from is None else item.available_from.timestamp(),
            np.inf if item.available_until is None else item.available_until.timestamp(),
        )
        self._from.values[row], self._until.values[row] = window
        if np.isfinite(window).any():
            self._windowed.add(row)
            self._changes.add(window)
        else:
            self._windowed.discard(row)
        self._alive.values[row] = True
        self.writes += 1
        before, now = self._fingerprints[row], item_fingerprint or fingerprint(item)
        self._fingerprints[row] = now
        return row, before != now

    def remove(self, item_id: str) -> int | None:
        """Takes an item out of the catalogue; returns its row, None when it was not in it."""
        row = self.rows.get(item_id)
        if row is None or not self._alive.values[row]:
            return None
        old, self._items[row] = self._items[row], None
        self._alive.values[row] = False
        self.removals += 1
        self.writes += 1
        if old is not None:
            self._postings.remove(row, old)
        return row

    def item(self, row: int) -> Item | None:
        """Returns the item in a row; None when it is not in the catalogue."""
        return self._items[row]

    def is_alive(self, rows: I64) -> Mask:
        """Returns which of these rows hold an item of the catalogue."""
        return self._alive.values[rows]

    def mark(self, row: int) -> str:
        """Returns the fingerprint of the item last seen in a row; empty when there was none."""
        return self._fingerprints[row]

    def check(self, item_filter: ItemFilter) -> None:
        """Checks that a filter's rules are on attributes that some item of the catalogue has, or once had.

        Raises:
            InvalidField: one is not: nothing would ever match, which is a typing error rather than a wish.

        """
        names = self._postings.attribute_names
        for place, rule in enumerate(item_filter.attributes):
            if rule.name not in names:
                known = ", ".join(shown(name) for name in sorted(names)[:MAX_SHOWN_NAMES]) or "none"
                hint = "name an attribute that items of the catalogue have"
                raise InvalidField(f"filter.attributes[{place}].name", rule.name, f"an attribute ({known})", hint)

    def next_change(self, time: float) -> float:
        """Returns when the availability of an item changes next after `time`, both unix seconds; infinity: never."""
        return self._changes.after(time)

    def allowed(self, item_filter: ItemFilter, as_of: datetime, hidden: I64) -> Allowed:
        """Returns which rows may be recommended. Rows that come meanwhile are not among them.

        Args:
            item_filter: the caller's rules.
            as_of: the time that decides availability.
            hidden: rows that must not come (the user has seen them).

        """
        alive = self._all_alive()
        size = len(alive)
        # Copied in one step of the interpreter: the writer may add to the set meanwhile.
        windowed = np.array(list(self._windowed), np.int64)
        windowed = windowed[windowed < size]
        time = as_of.timestamp()
        is_open = (self._from.values[windowed] <= time) & (time < self._until.values[windowed])
        excluded = [row for one in item_filter.exclude_item_ids if (row := self.rows.get(one, size)) < size]
        out = np.concatenate([windowed[~is_open], hidden, np.array(excluded, np.int64)])
        if not item_filter.reads_items:
            return alive.without(out) if len(out) else alive
        mask = alive.mask.copy()
        mask[out] = False
        self._postings.narrow(mask, item_filter)
        return Allowed(mask)

    def _all_alive(self) -> Allowed:
        """Returns which rows hold an item of the catalogue: the same object until that changes."""
        writes, size = self.writes, len(self._alive.values)
        kept = self._kept_alive
        if kept is None or kept.writes != writes or len(kept.rows) != size:
            kept = self._kept_alive = _Alive(writes, Allowed(self._alive.values.copy()))
        return kept.rows


def fingerprint(item: Item) -> str:
    """Returns a hash of all that the models read of an item: an item with another one must be mapped anew."""
    attributes = sorted((name, type(value).__name__, str(value)) for name, value in item.attributes.items())
    read = [item.title, item.text, list(item.categories), attributes]
    return hashlib.sha256(json.dumps(read).encode()).hexdigest()[:32]
