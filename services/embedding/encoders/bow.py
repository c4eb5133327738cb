"""Bag of words: a text is the counts of its terms.

While the vocabulary fits into `dim`, a vector's places are the terms themselves. A larger one is projected with
random signs, ±1/√dim, which keeps cosines to about 1/√dim (Achlioptas 2003, "Database-friendly random projections"):
the vectors stay short enough to travel and to be searched, and no term is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.embedding.encoders.terms import TermModel, choose_terms, terms_of, with_neutral

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KIND = "bow"


def fit(
    texts: Sequence[str],
    *,
    dim: int = 512,
    min_texts: int = 1,
    max_terms: int = 50_000,
    max_tokens: int | None = 512,
    seed: int = 0,
) -> TermModel:
    """Fits the encoder.

    Args:
        texts: what it shall read, such as `item_text` of the catalogue.
        dim: length of the vectors at most.
        min_texts: a term counts when it is in this many texts.
        max_terms: size of the vocabulary at most, the most common first.
        max_tokens: terms read of a text at most.
        seed: of the projection.

    Raises:
        NothingToLearn: no term is in enough texts.

    """
    documents = [terms_of(text) for text in texts]
    terms = choose_terms(documents, min_texts=min_texts, max_terms=max_terms)
    table = identity_or_signs(len(terms), dim, seed)
    weights = np.ones(len(terms), np.float32)
    neutral = np.zeros(table.shape[1], np.float32)
    neutral[0] = 1.0
    return with_neutral(TermModel(KIND, terms, weights, table, neutral, max_tokens=max_tokens), documents)


def identity_or_signs(terms: int, dim: int, seed: int) -> NDArray[np.float32]:
    """Returns one vector per term, float32 (terms, min(terms, dim)): its own place, or random signs of length 1."""
    if terms <= dim:
        return np.eye(terms, dtype=np.float32)
    signs = np.random.default_rng(seed).integers(0, 2, (terms, dim), dtype=np.int8) * 2 - 1
    return np.asarray(signs / np.sqrt(dim), np.float32)
