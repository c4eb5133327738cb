"""Live state: the catalogue and the live item table, kept fresh from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ranker.items.catalogue import Catalogue
from services.ranker.items.popularity import Popularity
from services.ranker.items.table import ItemTable
from shared.data.nouns import Event, Item, ItemDeleted, UserForgotten
from shared.data.texts import item_text
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.ranker.ports import Embedded
    from shared.data.nouns import LogRecord
    from shared.data.preferences import PreferenceRules

SERVICE = "ranker"


class LiveItems:
    """What is known of items now.

    `apply` takes records of the log in order. Items whose text is new or has changed wait in `take_waiting` for a
    vector, newest last. `on_forgotten(user_id)` is told of erased users. The event loop writes; other threads read.
    """

    def __init__(
        self,
        preferences: PreferenceRules,
        *,
        max_items: int = 2_000_000,
        max_keys: int = 5_000_000,
        on_forgotten: Callable[[str], None] = lambda _user_id: None,
    ) -> None:
        self._preferences = preferences
        self._max_items = max_items
        self._max_keys = max_keys
        self._on_forgotten = on_forgotten
        self._seed: ItemTable | None = None
        self._waiting: dict[str, None] = {}
        self.catalogue = Catalogue()
        self.table = self._empty()

    def reset(self) -> None:
        """Drops everything: the log was replaced by another one."""
        self.catalogue = Catalogue()
        self.table = self._empty()
        self._waiting = {}
        if self._seed is not None:
            self.adopt(self._seed)

    def adopt(self, seed: ItemTable) -> None:
        """Takes the vectors of a model's own table; items that have none there wait for theirs."""
        self._seed = seed
        self.table.centre = seed.centre
        self.table.embedding_version = seed.embedding_version
        for row, item_id in enumerate(self.table.ids):
            self._seed_vector(item_id, row)
        self._waiting = {
            item.item_id: None
            for item in self.catalogue.items()
            if not self.table.vectors.has(self.table.rows.get(item.item_id, -1))
        }

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Takes a stretch of the log."""
        sequence = 0
        for record in records:
            sequence = record.sequence
            match record.body:
                case Event() as event:
                    self.table.put_event(event)
                case Item() as item:
                    self._put(item)
                case ItemDeleted(item_id):
                    self.catalogue.delete(item_id)
                    self._waiting.pop(item_id, None)
                case UserForgotten(user_id):
                    self._on_forgotten(user_id)
        if sequence:
            metrics.LOG_SEQUENCE.labels(SERVICE).set(sequence)
            metrics.CATALOGUE_ITEMS.labels(SERVICE).set(len(self.catalogue))

    def text(self, item_id: str) -> str:
        """Returns the text of an item as the language model reads it; empty when it is not known."""
        item = self.catalogue.get(item_id)
        return "" if item is None else item_text(item)

    def take_waiting(self, count: int) -> list[str]:
        """Returns the newest items that wait for a vector, at most `count`; they wait no longer."""
        newest = list(self._waiting)[-count:]
        for item_id in newest:
            del self._waiting[item_id]
        return newest

    def put_back(self, item_ids: Iterable[str]) -> None:
        """Lets items wait again: their vectors could not be made."""
        self._waiting = {**dict.fromkeys(item_ids), **self._waiting}

    def put_vectors(self, item_ids: list[str], embedded: Embedded) -> None:
        """Takes the vectors of items; those of another embedding version than the model's are left out."""
        if self.table.embedding_version not in ("", embedded.version):
            return
        self.table.embedding_version = embedded.version
        for place, item_id in enumerate(item_ids):
            row = self.table.rows.get(item_id)
            if row is not None and embedded.ok[place]:
                self.table.vectors.put(row, embedded.vectors[place])

    def _put(self, item: Item) -> None:
        before = self.text(item.item_id)
        self.catalogue.put(item)
        self.table.put_item(item)
        row = self.table.rows.get(item.item_id)
        if row is None:
            return
        if not before:
            self._seed_vector(item.item_id, row)
        after = self.text(item.item_id)
        if after and (after != before or not self.table.vectors.has(row)):
            if before and after != before:
                self.table.vectors.drop(row)
            if not self.table.vectors.has(row):
                self._waiting[item.item_id] = None

    def _seed_vector(self, item_id: str, row: int) -> None:
        self.table.vectors.drop(row)
        if self._seed is None:
            return
        seeded = self._seed.find([item_id])
        vector, found = self._seed.vectors.take(seeded)
        if found[0]:
            self.table.vectors.put(row, vector[0])

    def _empty(self) -> ItemTable:
        return ItemTable(
            self._preferences,
            popularity=Popularity(max_keys=self._max_keys),
            max_items=self._max_items,
        )
