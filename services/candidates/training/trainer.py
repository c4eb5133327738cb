"""Fits all models of one version."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.als import AlsModel
from services.candidates.sources.item_item import ItemItemModel
from services.candidates.sources.popular import PopularSource
from services.candidates.sources.text import TextMap
from services.candidates.versions.version import Models
from shared.data.nouns import Item

if TYPE_CHECKING:
    from services.candidates.catalogue.table import ItemTable
    from services.candidates.sources.hyperparameters import Hyperparameters
    from services.candidates.sources.text import ItemTexts
    from services.candidates.training.likes import Likes


def fit_models(
    table: ItemTable,
    texts: ItemTexts,
    likes: Likes,
    parameters: Hyperparameters,
) -> Models:
    """Fits every source on `likes`.

    Args:
        table: the catalogue, and a row for every item with an event.
        texts: language model vectors, one row per row of `table`.
        likes: what the models may see.
        parameters: hyperparameters.

    """
    items = [table.item(row) or Item(item_id) for row, item_id in enumerate(table.ids)]
    als = AlsModel.fit(likes.matrix, parameters.als, parameters.seed, parameters.threads)
    item_item = ItemItemModel.fit(likes.matrix, parameters.item_item)
    text_map = TextMap.fit(items, texts, als.factors, likes.per_item, parameters.text)
    return Models(
        table=table,
        als=als,
        item_item=item_item,
        text_map=text_map,
        popular=PopularSource(likes.per_item),
        mapped=text_map.map(items, texts),
        content=texts.full,
        events=np.asarray(likes.events),
    )
