"""One version of all models, ready to answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.index.spaces import CONTENT, Spaces
from services.candidates.live.item_factors import ItemFactors
from services.candidates.ports import KnowsUsers, LiveSource, ReadsTexts
from services.candidates.sources.als import AlsSource
from services.candidates.sources.kind import Opening
from services.candidates.sources.own_vectors import filled, own_vectors
from services.candidates.sources.registry import KINDS
from services.candidates.sources.views import views
from shared.data.item_evidence import ItemReviews

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.catalogue.table import ItemTable
    from services.candidates.merge.quotas import Quotas
    from services.candidates.ports import IndexFactory, Source, VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.aligned_text import ItemTexts, TextMap
    from services.candidates.sources.als import AlsModel
    from shared.data.nouns import Item

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
    """What training makes. Arrays have one row per row of `table`."""

    table: ItemTable
    by_kind: Mapping[str, Any]
    """The models of the sources by the name of their kind (`sources/registry.py`)."""
    mapped: F32
    """What text says of each item in the CF space, float32 (rows, factors), NaN where it says nothing."""
    content: F32
    """Language model vectors, float32 (rows, dim), NaN where there is none."""
    events: I64
    """Training events of each item, int64 (rows,)."""
    quotas: Quotas | None = None
    """How many places each source earned; None: not learned."""
    reviews: ItemReviews = field(default_factory=ItemReviews)
    """The reviews that are part of `content` and `mapped`."""
    own_texts: Mapping[int, F32] = field(default_factory=dict)
    """Vectors of the reviewed items' own texts by row, float32 (dim,), NaN where there is none."""


@dataclass(frozen=True, eq=False)
class NamedIndex:
    """One index of a version."""

    name: str
    """The space that callers ask for, or the source that searches it."""
    index: VectorIndex
    trained_rows: int
    """Rows from this one on came after the training."""


class Version:
    """Sources and indexes over the models of one version.

    Only the one that keeps it live writes to it: `place`, `remove`, the live sources and the table.

    Args:
        about: facts of its manifest.
        models: what training made.
        make_index: makes the indexes that were not built at training; they are filled from the models.
        spaces: those built at training; None: not built.
        own_indexes: of the kinds that have vectors of their own, those built at training, by kind; None: none was.

    """

    def __init__(
        self,
        about: About,
        models: Models,
        make_index: IndexFactory,
        spaces: Spaces | None = None,
        own_indexes: Mapping[str, VectorIndex] | None = None,
    ) -> None:
        self.about = about
        self.table = models.table
        self.text_map: TextMap = models.by_kind["aligned_text"]
        self.trained_rows = len(models.events)
        self._als: AlsModel = models.by_kind["als"]
        self._events = models.events
        self.quotas = models.quotas
        self.reviews = models.reviews
        self._own_texts = dict(models.own_texts)
        self.item_factors = ItemFactors(self._als)
        self._vector_writes = 0
        if spaces is None:
            spaces = Spaces.empty(make_index, self._als.factors.shape[1], models.content.shape[1])
            rows = np.arange(len(models.events))
            spaces.put(rows, self._learned(rows), models.mapped, models.content)
        self.spaces = spaces
        vectors, built = own_vectors(models.by_kind), own_indexes or {}
        own = {name: built[name] if name in built else filled(make_index, vectors[name]) for name in vectors}
        self.indexes = (
            *(NamedIndex(name, index, self.trained_rows) for name, index in spaces.by_name.items()),
            *(NamedIndex(name, index, len(vectors[name])) for name, index in own.items()),
        )
        """All indexes, once each."""
        opening = Opening(models.by_kind, self.spaces, self.table, own)
        opened = (kind.open(models.by_kind[kind.name], opening) for kind in KINDS if kind.name in models.by_kind)
        every = {source.name: source for several in opened for source in several}
        self.sources: dict[str, Source] = {**every, **{view.name: view for view in views(every)}}
        self.neighbours = next((source for source in every.values() if isinstance(source, KnowsUsers)), None)
        self._text_readers = [source for source in every.values() if isinstance(source, ReadsTexts)]
        self.live_sources = [source for source in every.values() if isinstance(source, LiveSource)]

    @property
    def content_dim(self) -> int:
        """Length of the language model's vectors."""
        return self.spaces.similar[CONTENT].dim

    @property
    def writes(self) -> int:
        """Counts writes to the catalogue and to the vectors; the live sources' likes are not among them."""
        return self.table.writes + self._vector_writes

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

    def own_text(self, row: int) -> F32:
        """Returns the vector of an item's own text, without its reviews, (dim,); NaN where there is none."""
        if row in self._own_texts:
            return self._own_texts[row]
        vector: F32 = self.spaces.similar[CONTENT].vectors(np.array([row], np.int64))[0]
        return vector

    def keep_own_text(self, row: int, own: F32, full: F32) -> None:
        """Notes the vector of an item's own text, (dim,), where its reviews make another one of it, `full`."""
        self._own_texts.pop(row, None)
        if not np.array_equal(own, full, equal_nan=True):
            self._own_texts[row] = own.copy()

    def is_trained(self, row: int) -> bool:
        """Returns whether training learned factors of the item in this row."""
        return row < len(self._als.known) and bool(self._als.known[row])

    def fold_in(self, profile: Profile) -> F32:
        """Returns a user's vector in the CF space, (factors,); zero when no liked item is known."""
        return self._als.fold_in(profile)

    def learn(self, row: int) -> None:
        """Moves an item without trained factors to where its known likers want it, without any to what text says."""
        if self.table.item(row) is None:
            return
        rows = np.array([row], np.int64)
        self.spaces.put_cf(rows, self._with_likes(rows, self.spaces.mapped.vectors(rows)))
        source = self.sources.get("als")
        if isinstance(source, AlsSource):
            source.set_learned(row, learned=self.item_factors.has(row))
        self._vector_writes += 1

    def place(self, rows: I64, items: Sequence[Item], mapped: F32, texts: ItemTexts) -> None:
        """Puts items into every index: `mapped` (rows, factors) is what the map says of them, NaN rows for nothing."""
        self.spaces.put(rows, self._with_likes(rows, mapped), mapped, texts.full)
        for source in self._text_readers:
            source.place(rows, items, texts)
        self._vector_writes += 1

    def remove(self, rows: I64) -> None:
        """Takes items out of every index."""
        self.spaces.remove(rows)
        for source in self._text_readers:
            source.remove(rows)

    def _with_likes(self, rows: I64, mapped: F32) -> F32:
        """Returns learned vectors: of training, else of the known likers, else what text says; NaN for none."""
        vectors = self._learned(rows)
        for place in np.flatnonzero(np.isnan(vectors[:, 0])).tolist():
            own = None if np.isnan(mapped[place, 0]) else mapped[place]
            row = int(rows[place])
            if self.item_factors.has(row):
                vectors[place] = self.item_factors.vector(row, own)
            elif own is not None:
                vectors[place] = own
        return vectors

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
