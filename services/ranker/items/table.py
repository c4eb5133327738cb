"""The item table: what features are computed from, by row. One is live, one belongs to each model version."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.items.attributes import ItemAttributes
from services.ranker.items.popularity import Popularity
from services.ranker.items.vectors import ItemVectors
from shared.data.nouns import EventType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from shared.data.nouns import Event, Item
    from shared.data.preferences import PreferenceRules

NAMES_FILE = "items.json"
REFRESH_GROWTH = 1.1


@dataclass(frozen=True)
class CatalogueMeans:
    """Means over all items: `usual` float32 (categories,), `spread` float32 (numbers,), when the table had `size`."""

    usual: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    spread: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, dtype=np.float32))
    size: float = -1.0


@dataclass
class ItemTable:
    """Rows are given in order of arrival and never move; a deleted item keeps its row.

    `embedding_version` is that of the vectors; empty before the first. `centre` is the mean vector of the
    catalogue, float32 (dim,): similarities are cosines after it is taken off, since all texts share a common part.
    """

    preferences: PreferenceRules
    attributes: ItemAttributes = field(default_factory=ItemAttributes)
    popularity: Popularity = field(default_factory=Popularity)
    vectors: ItemVectors = field(default_factory=ItemVectors)
    rows: dict[str, int] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)
    embedding_version: str = ""
    centre: NDArray[np.float32] | None = None
    max_items: int = 2_000_000
    left_out: int = 0
    """Items and events that found the table full."""
    _means: CatalogueMeans = field(default_factory=CatalogueMeans)

    def row(self, item_id: str) -> int | None:
        """Returns the row of an item, giving it one when there is room; None when the table is full."""
        row = self.rows.get(item_id)
        if row is None:
            if len(self.ids) >= self.max_items:
                self.left_out += 1
                return None
            row = self.rows[item_id] = len(self.ids)
            self.ids.append(item_id)
        return row

    def find(self, item_ids: Sequence[str]) -> NDArray[np.intp]:
        """Returns the rows of n items: intp (n,), -1 where unknown."""
        return np.fromiter(map(self.rows.get, item_ids, repeat(-1)), dtype=np.intp, count=len(item_ids))

    def put_item(self, item: Item) -> None:
        """Takes an item's attributes."""
        row = self.row(item.item_id)
        if row is not None:
            self.attributes.put(row, item)

    def put_event(self, event: Event) -> None:
        """Counts an event; impressions do not count."""
        if not self.preferences.counts(event):
            return
        row = self.row(event.item_id)
        if row is None:
            return
        rated = event.type in (EventType.RATING, EventType.REVIEW)
        self.popularity.add(
            row,
            int(event.timestamp.timestamp()),
            positive=self.preferences.signal(event) > 0,
            rating=event.value if rated else None,
        )

    def centred(self, rows: NDArray[np.intp]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Returns centred vectors of length 1 of n rows, float32 (n, dim), and which rows have one, bool (n,)."""
        taken, found = self.vectors.take(rows)
        return self.centre_off(taken, found), found

    def centre_off(self, vectors: NDArray[np.float32], found: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Returns the vectors without the catalogue's mean, at length 1; rows that are not `found` stay zero."""
        if self.centre is None or not len(vectors):
            return vectors
        moved = vectors - self.centre
        moved[~found] = 0
        norms = np.linalg.norm(moved, axis=1, keepdims=True)
        return np.asarray(moved / np.maximum(norms, 1e-9), dtype=np.float32)

    def cosines(self, direction: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Returns the cosines of all rows' centred vectors with `direction`: float32 (rows,).

        With it which rows have a vector, bool (rows,). `direction` is float32 (dim,) of length 1. The centred vectors
        are not made: v - c has the squared length 1 - 2 v·c + c·c when v has length 1.
        """
        if self.centre is None:
            products, found = self.vectors.products(direction[:, None], len(self.ids))
            return products[:, 0], found
        products, found = self.vectors.products(np.stack([direction, self.centre], axis=1), len(self.ids))
        squared = 1 - 2 * products[:, 1] + float(self.centre @ self.centre)
        moved = products[:, 0] - float(self.centre @ direction)
        cosines = moved / np.sqrt(np.maximum(squared, 1e-12))
        return np.where(found, cosines, 0).astype(np.float32), found

    def usual_categories(self, width: int) -> NDArray[np.float32]:
        """Returns the share of positives that fall on each category: float32 (width,); zeros before the first."""
        return self._fresh_means(width, 0).usual[:width]

    def number_spread(self, width: int) -> NDArray[np.float32]:
        """Returns the standard deviation of each number attribute over the items: float32 (width,), at least 1e-6."""
        return self._fresh_means(0, width).spread[:width]

    def _fresh_means(self, categories: int, numbers: int) -> CatalogueMeans:
        # Means over the whole catalogue move slowly: they are computed anew when it has grown by a tenth. Several
        # threads may do so at once, and an item may add a column meanwhile: each returns the means that it has seen
        # to reach far enough.
        size = len(self.ids) + self.popularity.all_positives
        means = self._means
        reaches = categories <= len(means.usual) and numbers <= len(means.spread)
        if size > means.size * REFRESH_GROWTH or not reaches:
            means = self._means = self._computed_means(size)
        return means

    def _computed_means(self, size: float) -> CatalogueMeans:
        categories, width = self.attributes.widths
        every = np.arange(len(self.ids), dtype=np.intp)
        positives = self.popularity.take(self.popularity.positives, every)
        usual = (positives @ self.attributes.categories(every, categories)) / max(float(positives.sum()), 1.0)
        numbers = self.attributes.numbers(every, width)
        known = ~np.isnan(numbers)
        counts = np.maximum(known.sum(axis=0), 1)
        means = np.where(known, numbers, 0).sum(axis=0) / counts
        variance = (np.where(known, numbers - means, 0) ** 2).sum(axis=0) / counts
        spread = np.maximum(np.sqrt(variance), 1e-6).astype(np.float32)
        return CatalogueMeans(np.asarray(usual, dtype=np.float32), spread, size)

    def save(self, folder: Path) -> None:
        """Writes the table into `folder`."""
        count = len(self.ids)
        every = np.arange(count, dtype=np.intp)
        vectors, found = self.vectors.take(every)
        arrays = {**self.popularity.arrays(), **self.attributes.arrays(count), "vectors": vectors, "found": found}
        if self.centre is not None:
            arrays["centre"] = self.centre
        for name, array in arrays.items():
            # A file of its own each: an archive of several cannot be memory-mapped.
            np.save(folder / f"{name}.npy", array)
        names = {
            "ids": self.ids,
            "categories": list(self.attributes.category_columns),
            "numbers": list(self.attributes.number_columns),
            "embedding_version": self.embedding_version,
        }
        (folder / NAMES_FILE).write_text(json.dumps(names))

    @classmethod
    def load(cls, folder: Path, preferences: PreferenceRules) -> ItemTable:
        """Reads a table; its arrays stay on disk, memory-mapped. What is written to them stays in memory."""
        names = json.loads((folder / NAMES_FILE).read_text())
        # As plain arrays: every slice of a `memmap` costs microseconds.
        arrays = {path.stem: np.asarray(np.load(path, mmap_mode="c")) for path in folder.glob("*.npy")}
        vectors = ItemVectors(arrays["vectors"], arrays["found"])
        return cls(
            preferences=preferences,
            attributes=ItemAttributes.from_arrays(arrays, names["categories"], names["numbers"]),
            popularity=Popularity.from_arrays(arrays),
            vectors=vectors,
            rows={item_id: row for row, item_id in enumerate(names["ids"])},
            ids=names["ids"],
            embedding_version=names["embedding_version"],
            centre=arrays.get("centre"),
        )
