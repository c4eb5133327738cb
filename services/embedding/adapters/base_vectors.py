"""Vectors of texts by the model of EMBEDDING_MODEL: what an encoder that was fitted is judged against."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.embedding.adapters.base_model import BaseModel

BATCH = 64


def base_vectors(base: BaseModel, texts: Sequence[str]) -> NDArray[np.float32]:
    """Returns unit vectors, float32 (texts, dim).

    Raises:
        ModelUnusable: the model cannot be loaded.

    """
    model = base.load(lambda: None)
    rows = [text.ids for text in model.tokenizer.tokenize(texts)]
    vectors = np.zeros((len(rows), model.encoder.facts.dim), np.float32)
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    for start in range(0, len(order), BATCH):
        chosen = order[start : start + BATCH]
        vectors[chosen] = model.encoder.encode([rows[place] for place in chosen])
    return vectors
