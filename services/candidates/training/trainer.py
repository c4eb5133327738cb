"""Fits all models of one version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources import aligned_text
from services.candidates.sources.kind import TrainingData
from services.candidates.sources.registry import fit_kinds, wanted_kinds
from services.candidates.versions.version import Models
from shared.data.nouns import Item

if TYPE_CHECKING:
    from collections.abc import Collection

    from services.candidates.catalogue.table import ItemTable
    from services.candidates.ports import AlsEngine
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.sources.hyperparameters import Hyperparameters
    from services.candidates.training.likes import Likes


def fit_models(
    table: ItemTable,
    texts: ItemTexts,
    likes: Likes,
    parameters: Hyperparameters,
    sources: Collection[str],
    als_engine: AlsEngine | None = None,
) -> Models:
    """Fits sources on `likes`.

    Args:
        table: the catalogue, and a row for every item with an event.
        texts: language model vectors, one row per row of `table`.
        likes: what the models may see.
        parameters: hyperparameters.
        sources: names of the sources to fit; what they need is fitted, too.
        als_engine: what fits the matrix factorisation; None: this process.

    """
    items = [table.item(row) or Item(item_id) for row, item_id in enumerate(table.ids)]
    models = fit_kinds(wanted_kinds(sources), TrainingData(items, texts, likes, parameters, als_engine))
    text_map: aligned_text.TextMap = models[aligned_text.KIND.name]  # type: ignore[assignment]  # the kind's own model
    return Models(
        table=table,
        by_kind=models,
        mapped=text_map.map(items, texts),
        content=texts.full,
        events=np.asarray(likes.events),
    )
