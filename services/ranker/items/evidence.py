"""What reviews add to the vectors of items."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.items.vectors import ItemVectors
from services.ranker.ports import Embedded
from shared.data.item_evidence import mixed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.items.table import ItemTable
    from shared.data.item_evidence import ItemReviews


def with_reviews(embedded: Embedded, counts: Sequence[int]) -> Embedded:
    """Returns one vector per item.

    `embedded` has `counts` rows of each item: its own text's first, then those of its reviews.
    """
    vectors = np.zeros((len(counts), embedded.vectors.shape[1]), np.float32)
    ok = np.zeros(len(counts), np.bool_)
    end = 0
    for place, count in enumerate(counts):
        start, end = end, end + count
        said = embedded.vectors[start + 1 : end][embedded.ok[start + 1 : end]]
        own = embedded.vectors[start] if embedded.ok[start] else None
        if own is not None or len(said):
            vectors[place] = mixed(own, said)
            ok[place] = True
    return Embedded(vectors, ok, embedded.version)


def reviewed_vectors(table: ItemTable, reviews: ItemReviews, vector_of: Callable[[str], F32 | None]) -> ItemVectors:
    """Returns a copy of a table's vectors with the reviews in them; `vector_of` a text is None where it has none."""
    vectors = ItemVectors(*table.vectors.take(np.arange(len(table.ids))))
    for item_id in reviews:
        said = [vector for text in reviews.texts(item_id) if (vector := vector_of(text)) is not None]
        row = table.rows.get(item_id)
        if row is not None and said:
            own, found = vectors.take(np.array([row]))
            vectors.put(row, mixed(own[0] if found[0] else None, np.stack(said)))
    return vectors
