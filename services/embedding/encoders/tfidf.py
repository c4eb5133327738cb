"""TF-IDF with a truncated singular value decomposition: latent semantic analysis.

    x(text)[t] = (1 + ln count(t)) · idf(t),  idf(t) = ln((1 + n) / (1 + texts with t)) + 1,  row normalised
    X ≈ U S Vᵀ,  v(text) = x(text) V

(Deerwester et al. 1990, "Indexing by latent semantic analysis"; idf smoothed as scikit-learn does.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.embedding.encoders.bow import identity_or_signs
from services.embedding.encoders.terms import TermModel, choose_terms, terms_of, with_neutral

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KIND = "tfidf"


def fit(
    texts: Sequence[str],
    *,
    dim: int = 256,
    min_texts: int = 2,
    max_terms: int = 50_000,
    max_tokens: int | None = 512,
    seed: int = 0,
) -> TermModel:
    """Fits the encoder; needs SciPy (requirements/embedding-train.lock).

    Args:
        texts: what it shall read, such as `item_text` of the catalogue.
        dim: length of the vectors at most; no more than the vocabulary and the texts allow.
        min_texts: a term counts when it is in this many texts.
        max_terms: size of the vocabulary at most, the most common first.
        max_tokens: terms read of a text at most.
        seed: of the decomposition's start.

    Raises:
        NothingToLearn: no term is in enough texts.

    """
    documents = [terms_of(text) for text in texts]
    terms = choose_terms(documents, min_texts=min_texts, max_terms=max_terms)
    weights = idf(documents, terms)
    table = _components(documents, terms, weights, dim, seed)
    neutral = np.zeros(table.shape[1], np.float32)
    neutral[0] = 1.0
    model = TermModel(KIND, terms, weights, table, neutral, log_counts=True, max_tokens=max_tokens)
    return with_neutral(model, documents)


def idf(documents: Sequence[Sequence[str]], terms: Sequence[str]) -> NDArray[np.float32]:
    """Returns the inverse document frequency of each term, float32 (terms,)."""
    numbers = {term: number for number, term in enumerate(terms)}
    found = np.zeros(len(terms))
    for document in documents:
        found[[numbers[term] for term in set(document) if term in numbers]] += 1
    return (np.log((1 + len(documents)) / (1 + found)) + 1).astype(np.float32)


def _components(
    documents: Sequence[Sequence[str]], terms: Sequence[str], weights: NDArray[np.float32], dim: int, seed: int
) -> NDArray[np.float32]:
    """Returns V, float32 (terms, dim)."""
    kept = [document for document in documents if document]
    # The decomposition gives fewer components than its matrix has rows or columns.
    components_at_most = min(len(kept), len(terms)) - 1
    if len(terms) <= dim or components_at_most < 1:
        return identity_or_signs(len(terms), dim, seed)
    from scipy.sparse import csr_array
    from scipy.sparse.linalg import svds

    numbers = {term: number for number, term in enumerate(terms)}
    rows, columns, values = [], [], []
    for row, document in enumerate(kept):
        places, counts = np.unique([numbers[term] for term in document if term in numbers], return_counts=True)
        amounts = (1 + np.log(counts)) * weights[places.astype(np.int64)]
        rows.append(np.full(len(places), row))
        columns.append(places.astype(np.int64))
        values.append(amounts / max(float(np.linalg.norm(amounts)), 1e-12))
    shape = (len(kept), len(terms))
    matrix = csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), shape=shape)
    start = np.random.default_rng(seed).standard_normal(min(shape))
    _, strengths, components = svds(matrix, k=min(dim, components_at_most), v0=start, solver="arpack")
    order = np.argsort(-strengths)
    components = components[order]
    # A component's sign is arbitrary: the largest number is made positive, so that a fit can be compared with another.
    signs = np.sign(components[np.arange(len(order)), np.abs(components).argmax(axis=1)])
    return np.ascontiguousarray((components * signs[:, None]).T, np.float32)
