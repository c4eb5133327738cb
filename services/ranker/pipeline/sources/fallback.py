"""Candidates from the ranker's own item table, for when the candidates service does not answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.nouns import CandidateTable

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.ranker.features.profile import TextProfile
    from services.ranker.items.arrays import F32
    from services.ranker.items.table import ItemTable


def nearest(table: ItemTable, texts: TextProfile | None, count: int, allowed: Callable[[str], bool]) -> CandidateTable:
    """Returns the allowed items nearest to the text profile, by cosine; none without a profile or vectors."""
    if texts is None or table.vectors.dim != texts.vectors.shape[1]:
        return _best(table, np.zeros(0, dtype=np.float32), count, allowed)
    cosines, found = table.cosines(texts.centre)
    return _best(table, np.where(found, cosines, -np.inf).astype(np.float32), count, allowed)


def popular(table: ItemTable, count: int, allowed: Callable[[str], bool]) -> CandidateTable:
    """Returns the allowed items with the most positives, by log(1 + positives)."""
    positives = table.popularity.positives[: len(table.ids)]
    return _best(table, np.where(positives > 0, np.log1p(positives), -np.inf), count, allowed)


def _best(table: ItemTable, scores: F32, count: int, allowed: Callable[[str], bool]) -> CandidateTable:
    ids: list[str] = []
    values: list[float] = []
    for row in np.argsort(-scores, kind="stable"):
        if len(ids) >= count or scores[row] == -np.inf:
            break
        if allowed(table.ids[row]):
            ids.append(table.ids[row])
            values.append(float(scores[row]))
    return CandidateTable.plain(ids, np.array(values, dtype=np.float32))
