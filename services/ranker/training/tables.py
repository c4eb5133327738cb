"""The item tables of a training run: the same items and vectors, the counts of what each version may see."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.items.evidence import reviewed_vectors
from services.ranker.items.popularity import Popularity
from services.ranker.items.table import ItemTable
from shared.data.item_evidence import ItemReviews
from shared.data.texts import item_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.training.vectors import TextVectors
    from shared.data.nouns import Event, Item
    from shared.data.preferences import PreferenceRules


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
