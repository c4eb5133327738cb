"""Live state: the catalogue and the live item table, kept fresh from the log."""

from __future__ import annotations

import asyncio
import math
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from services.ranker.items.catalogue import Catalogue
from services.ranker.items.openings import Openings
from services.ranker.items.popularity import Popularity
from services.ranker.items.table import ItemTable
from shared.data.item_evidence import ItemReviews
from shared.data.nouns import Event, Item, ItemDeleted, UserForgotten
from shared.data.texts import item_text
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.ranker.items.vectors import ItemVectors
    from services.ranker.ports import Embedded
    from shared.data.nouns import LogRecord
    from shared.data.preferences import PreferenceRules

SERVICE = "ranker"


@dataclass(frozen=True)
class Seeding:
    """A model's vectors by the first `rows` rows of the live table, and who waits for one."""

    vectors: ItemVectors
    rows: int
    waiting: dict[str, None]


def seeding(seed: ItemTable, table: ItemTable, catalogue: Catalogue) -> Seeding:
    """Returns what the table takes of a model's own; items of the catalogue with a text and no vector wait."""
    item_ids = list(table.ids)
    # The block of the artifact is memory-mapped: the live table reads it where it lies.
    vectors = seed.vectors.arranged(seed.find(item_ids))
    waiting: dict[str, None] = {}
    for row in vectors.lacking:
        item = catalogue.get(item_ids[row])
        if item is not None and item_text(item):
            waiting[item.item_id] = None
    return Seeding(vectors, len(item_ids), waiting)


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._preferences = preferences
        self._max_items = max_items
        self._max_keys = max_keys
        self._on_forgotten = on_forgotten
        self._clock = clock
        self._seed: ItemTable | None = None
        self._changed: set[str] | None = None
        self._waiting: dict[str, None] = {}
        self.item_changes = 0
        """Grows with every item that is written or deleted, and with one whose vector comes or goes."""
        self.changed_at = -math.inf
        """When that was last, by `clock`, seconds."""
        self.catalogue = Catalogue()
        self.openings = Openings()
        self.reviews = ItemReviews()
        self.table = self._empty()

    def reset(self) -> None:
        """Drops everything: the log was replaced by another one."""
        self._note_change()
        self.catalogue = Catalogue()
        self.openings = Openings()
        self.reviews.clear()
        self.table = self._empty()
        self._waiting = {}
        if self._seed is not None:
            self._take(self._seed, seeding(self._seed, self.table, self.catalogue))

    async def adopt(self, seed: ItemTable) -> None:
        """Takes the vectors of a model's own table; items that have none there wait for theirs.

        The vectors are looked up in a thread; then one reference is swapped. Calls that run keep the table that they
        began with: its vectors, centre and version belong together.
        """
        while True:
            table = self.table
            self._changed = set()
            seeded = await asyncio.to_thread(seeding, seed, table, self.catalogue)
            if self.table is table:
                break
            # The log was replaced meanwhile: the rows are other ones.
        self._take(seed, seeded)

    def at_end(self) -> None:
        """Is told that the end of the log was reached."""
        self.table.popularity.keep_time()

    def _take(self, seed: ItemTable, seeded: Seeding) -> None:
        self._seed = seed
        self.table = replace(
            self.table, vectors=seeded.vectors, centre=seed.centre, embedding_version=seed.embedding_version
        )
        self._waiting = seeded.waiting
        # What has come or changed since the thread began to read.
        came = self.table.ids[seeded.rows :]
        for item_id in came:
            self._seed_vector(item_id, self.table.rows[item_id])
        for item_id in self._changed or ():
            self.table.vectors.drop(self.table.rows[item_id])
        for item_id in (*came, *(self._changed or ())):
            if self.text(item_id) and not self.table.vectors.has(self.table.rows[item_id]):
                self._waiting[item_id] = None
        self._changed = None
        # The model's vectors hold the reviews of its time; what came or went since is not told apart.
        self._reviewed(list(self.reviews))
        self.table.popularity.keep_time()

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Takes a stretch of the log."""
        sequence = 0
        for record in records:
            sequence = record.sequence
            match record.body:
                case Event() as event:
                    self.table.put_event(event)
                    self._reviewed(self.reviews.add(event))
                case Item() as item:
                    self._note_change()
                    self._put(item)
                case ItemDeleted(item_id):
                    self._note_change()
                    self.catalogue.delete(item_id)
                    self.reviews.remove(item_id)
                    self._waiting.pop(item_id, None)
                case UserForgotten(user_id):
                    self._reviewed(self.reviews.forget(user_id))
                    self._on_forgotten(user_id)
        if sequence:
            metrics.LOG_SEQUENCE.labels(SERVICE).set(sequence)
            metrics.CATALOGUE_ITEMS.labels(SERVICE).set(len(self.catalogue))

    def text(self, item_id: str) -> str:
        """Returns the text of an item as the language model reads it; empty when it is not known."""
        item = self.catalogue.get(item_id)
        return "" if item is None else item_text(item)

    def texts(self, item_id: str) -> list[str]:
        """Returns what an item's vector is made of: its own text, empty when there is none, and its reviews."""
        return [self.text(item_id), *self.reviews.texts(item_id)]

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
            if row is None:
                continue
            if self.table.vectors.has(row) != bool(embedded.ok[place]):
                # Only now can a new item be found by its text. One that gets a better vector was in lists before.
                self._note_change()
            if embedded.ok[place]:
                self.table.vectors.put(row, embedded.vectors[place])
            else:
                # Its last review was taken back, and it has no text of its own.
                self.table.vectors.drop(row)

    def _note_change(self) -> None:
        self.item_changes += 1
        self.changed_at = self._clock()

    def _reviewed(self, item_ids: Iterable[str]) -> None:
        """Lets known items wait for vectors with the reviews that they have now; the old ones stay until then."""
        for item_id in item_ids:
            if self.catalogue.get(item_id) is not None and item_id in self.table.rows:
                self._waiting.pop(item_id, None)
                self._waiting[item_id] = None

    def _put(self, item: Item) -> None:
        before = self.text(item.item_id)
        self.catalogue.put(item)
        self.openings.add(item, self.catalogue)
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
                if self._changed is not None:
                    self._changed.add(item.item_id)
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
