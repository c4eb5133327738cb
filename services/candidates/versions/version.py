"""One version of all models, ready to answer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.index.spaces import CONTENT, Spaces
from services.candidates.sources.als import AlsSource
from services.candidates.sources.item_item import ItemItemSource
from services.candidates.sources.text import TextSource
from services.candidates.sources.views import views

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.catalogue.table import ItemTable
    from services.candidates.ports import IndexFactory, Source
    from services.candidates.sources.als import AlsModel
    from services.candidates.sources.item_item import ItemItemModel
    from services.candidates.sources.popular import PopularSource
    from services.candidates.sources.text import TextMap

KIND = "candidates"
"""Kind of this service's artifacts."""


@dataclass(frozen=True)
class About:
    """What a version is: facts of its manifest."""

    version: str
    created_at: datetime
    labels: Mapping[str, str]
    lineage: Mapping[str, str]
    sequence: int
    """The last record of the log in its data."""
    cursor: str
    """The cursor after that record."""

    @property
    def embedding_version(self) -> str:
        """The version of the language model that made its text vectors."""
        return self.lineage.get("embedding", "")


@dataclass(frozen=True, eq=False)
class Models:
    """What training makes. Arrays have one row per row of `table`.

    `mapped` float32 (rows, factors) and `content` float32 (rows, dim) are NaN where an item has no vector;
    `events` int64 (rows,) counts the training events of each item.
    """

    table: ItemTable
    als: AlsModel
    item_item: ItemItemModel
    text_map: TextMap
    popular: PopularSource
    mapped: F32
    content: F32
    events: I64


class Version:
    """Sources and indexes over the models of one version.

    Only the one that keeps it live writes to it: `place`, `remove` and the table.
    """

    def __init__(self, about: About, models: Models, make_index: IndexFactory) -> None:
        self.about = about
        self.table = models.table
        self.popular = models.popular
        self.text_map = models.text_map
        self.trained_rows = len(models.events)
        self._als = models.als
        self._events = models.events
        self.spaces = Spaces(make_index, models.als.factors.shape[1], models.content.shape[1])
        rows = np.arange(len(models.events))
        self.spaces.put(rows, self._learned(rows), models.mapped, models.content)
        als = AlsSource(models.als, self.spaces.cf)
        item_item = ItemItemSource(models.item_item)
        text = TextSource(models.als, self.spaces.mapped)
        every: tuple[Source, ...] = (als, item_item, text, models.popular, *views(als, item_item, text))
        self.sources = {source.name: source for source in every}

    @property
    def content_dim(self) -> int:
        """Length of the language model's vectors."""
        return self.spaces.similar[CONTENT].dim

    @property
    def index_version(self) -> str:
        """Name of the index build: changes with every rebuild, not with live additions."""
        return f"{self.spaces.cf.type}-{self.about.version}"

    def is_new(self, rows: I64) -> Mask:
        """Returns which rows hold items without an event in the training data."""
        return np.asarray(self._padded(rows) == 0)

    def has_vectors(self, row: int) -> bool:
        """Returns whether an item was mapped already."""
        return not bool(np.isnan(self.spaces.mapped.vectors(np.array([row]))).any())

    def added_live(self, space: str) -> int:
        """Returns the number of vectors in a space of items that arrived after the training."""
        return self.spaces.similar[space].count_from(self.trained_rows)

    def place(self, rows: I64, mapped: F32, content: F32) -> None:
        """Puts items into every index: `mapped` (rows, factors), `content` (rows, dim), NaN rows for none."""
        self.spaces.put(rows, self._learned(rows), mapped, content)

    def _learned(self, rows: I64) -> F32:
        known = self._als.known
        vectors = np.full((len(rows), self._als.factors.shape[1]), np.nan, np.float32)
        inside = rows < len(known)
        inside[inside] = known[rows[inside]]
        vectors[inside] = self._als.factors[rows[inside]]
        return vectors

    def _padded(self, rows: I64) -> I64:
        events = np.zeros(len(rows), np.int64)
        inside = rows < len(self._events)
        events[inside] = self._events[rows[inside]]
        return events
