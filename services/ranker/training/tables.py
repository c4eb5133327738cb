"""The item tables of a training run: the same items, the vectors and the counts of what each version may see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.items.evidence import reviewed_vectors
from services.ranker.items.popularity import Popularity
from services.ranker.items.table import ItemTable
from services.ranker.training.vectors import TextVectors
from shared.data.item_evidence import ItemReviews
from shared.data.texts import item_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.nouns import VersionNote
    from services.ranker.ports import TextEncoder
    from shared.data.nouns import Event, Item
    from shared.data.preferences import PreferenceRules
    from shared.telemetry.progress import JobProgress


class BaseTables:
    """The table of all items per encoder version, each made once, with the vectors of texts that it is made of.

    A candidates version's lists and tables have vectors of the encoder that it was trained with: that one has not
    seen what is hidden from it. `wanted` names one encoder version for all; empty means that.
    """

    def __init__(
        self,
        items: Mapping[str, Item],
        encoder: TextEncoder,
        progress: JobProgress,
        rules: PreferenceRules,
        wanted: str = "",
    ) -> None:
        self._items = items
        self._encoder = encoder
        self._progress = progress
        self._rules = rules
        self._wanted = wanted
        self._made: dict[str, tuple[ItemTable, TextVectors]] = {}

    async def of(self, candidates: VersionNote) -> tuple[ItemTable, TextVectors]:
        """Returns the table and the vectors for a candidates version.

        Raises:
            DependencyUnavailable: embedding does not answer.
            ModelMismatch: it does not have the version, or no longer.

        """
        version = self._wanted or candidates.lineage.get("embedding", "")
        if version not in self._made:
            texts = TextVectors(self._encoder, self._progress, version)
            await texts.add(item_text(item) for item in self._items.values())
            self._made[version] = base_table(self._items, texts, self._rules), texts
        return self._made[version]


def base_table(items: Mapping[str, Item], texts: TextVectors, rules: PreferenceRules) -> ItemTable:
    """Returns a table of all items with attributes and vectors, without any event."""
    table = ItemTable(rules, embedding_version=texts.version)
    found: list[F32] = []
    for item in items.values():
        table.put_item(item)
        vector = texts.get(item_text(item))
        if vector is not None:
            table.vectors.put(table.rows[item.item_id], vector)
            found.append(vector)
    if found:
        table.centre = np.asarray(np.mean(np.stack(found), axis=0, dtype=np.float64), dtype=np.float32)
    return table


def with_counts(base: ItemTable, events: Sequence[Event], texts: TextVectors) -> ItemTable:
    """Returns the table with the counts of `events` and, in the vectors, their reviews.

    Items that only events name get rows in all tables. `texts` has the vectors of the reviews.
    """
    table = replace(base, popularity=Popularity())
    # Reviews among these events only: a hidden one would give its writer away.
    reviews = ItemReviews.of(events)
    if len(reviews):
        table.vectors = reviewed_vectors(base, reviews, texts.get)
    for event in events:
        table.put_event(event)
    table.popularity.settle()
    return table
