"""word2vec: terms' vectors learned from the company they keep (Mikolov et al. 2013, skip-gram with negative sampling).

Two corpora:

    texts      a text is a sentence of its terms: terms near each other in the catalogue's words
    sessions   a user's items are a sentence of item ids (Barkan and Koenigstein 2016, item2vec): items near each other
               in what people do. A term's vector is the mean of the vectors of the items in whose texts it occurs,
               drawn to zero when there are few, so that an item which nobody has met yet is placed by its words.

A text is the mean of its terms' vectors. With `texts`, common terms weigh less, a / (a + share of the term)
(Arora et al. 2017, "A simple but tough-to-beat baseline for sentence embeddings"); with `sessions` their inverse
document frequency does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.embedding.encoders.terms import NothingToLearn, TermModel, choose_terms, terms_of, with_neutral
from services.embedding.encoders.tfidf import idf
from shared.errors import DependencyUnavailable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KIND = "word2vec"
CORPORA = ("texts", "sessions")
_SMOOTHING = 1e-3
"""The `a` of Arora et al."""
_SHRINK = 3.0
"""A term's mean over n items is drawn to zero as if n were greater by this."""


@dataclass(frozen=True)
class SkipGram:
    """How the vectors are learned; see gensim's `Word2Vec`."""

    window: int = 10
    """Words to the left and right that count as company."""
    epochs: int = 20
    negative: int = 10
    """Words drawn against each true neighbour."""
    sampling_power: float = 0.75
    """Negative words are drawn with their frequency to this power."""


TEXTS = SkipGram()
SESSIONS = SkipGram(window=20, sampling_power=0.5)


def fit(
    texts: Sequence[str],
    *,
    sessions: Sequence[Sequence[int]] | None = None,
    dim: int = 128,
    min_texts: int = 2,
    max_terms: int = 50_000,
    max_tokens: int | None = 512,
    seed: int = 0,
) -> TermModel:
    """Fits the encoder; needs gensim (requirements/embedding-train.lock).

    Args:
        texts: what it shall read, such as `item_text` of the catalogue.
        sessions: places in `texts` of the items of each user, in the order of time; None: it is trained on the texts.
        dim: length of the vectors.
        min_texts: a term counts when it is in this many texts.
        max_terms: size of the vocabulary at most, the most common first.
        max_tokens: terms read of a text at most.
        seed: of the training; the same seed gives the same vectors.

    Raises:
        NothingToLearn: no term is in enough texts, or no session has two items.
        DependencyUnavailable: gensim is not installed.

    """
    documents = [terms_of(text) for text in texts]
    terms = choose_terms(documents, min_texts=min_texts, max_terms=max_terms)
    if sessions is None:
        table = _train([document for document in documents if document], terms, dim, seed, TEXTS)
        weights = _rarity(documents, terms)
    else:
        table = _from_items(documents, terms, _item_vectors(sessions, len(texts), dim, seed))
        weights = idf(documents, terms)
    neutral = np.zeros(dim, np.float32)
    neutral[0] = 1.0
    return with_neutral(TermModel(KIND, terms, weights, table, neutral, max_tokens=max_tokens), documents)


def _train(
    sentences: Sequence[Sequence[str]], words: Sequence[str], dim: int, seed: int, how: SkipGram
) -> NDArray[np.float32]:
    """Returns one vector per word, float32 (words, dim); zeros for words that are in no sentence."""
    try:
        from gensim.models import Word2Vec
    except ImportError as error:
        missing = "gensim is missing: install requirements/embedding-train.lock"
        raise DependencyUnavailable("word2vec", missing) from error
    model: Any = Word2Vec(
        vector_size=dim,
        window=how.window,
        sg=1,
        negative=how.negative,
        ns_exponent=how.sampling_power,
        min_count=1,
        # One thread: with several, their order decides the result.
        workers=1,
        seed=seed,
        epochs=how.epochs,
    )
    wanted = set(words)
    corpus = [[word for word in sentence if word in wanted] for sentence in sentences]
    model.build_vocab(corpus)
    model.train(corpus, total_examples=model.corpus_count, epochs=how.epochs)
    table = np.zeros((len(words), dim), np.float32)
    for place, word in enumerate(words):
        if word in model.wv:
            table[place] = model.wv[word]
    # The direction that all words share tells nothing of any.
    return _centred(table)


def _item_vectors(sessions: Sequence[Sequence[int]], items: int, dim: int, seed: int) -> NDArray[np.float32]:
    sentences = [[str(item) for item in session] for session in sessions if len(session) > 1]
    if not sentences:
        raise NothingToLearn("no session has two items: there is no company to learn from; train on the texts")
    return _train(sentences, [str(item) for item in range(items)], dim, seed, SESSIONS)


def _from_items(
    documents: Sequence[Sequence[str]], terms: Sequence[str], items: NDArray[np.float32]
) -> NDArray[np.float32]:
    numbers = {term: number for number, term in enumerate(terms)}
    sums = np.zeros((len(terms), items.shape[1]))
    counts = np.zeros(len(terms))
    for document, vector in zip(documents, items, strict=True):
        if vector.any():
            places = [numbers[term] for term in set(document) if term in numbers]
            sums[places] += vector
            counts[places] += 1
    return (sums / (counts + _SHRINK)[:, None]).astype(np.float32)


def _rarity(documents: Sequence[Sequence[str]], terms: Sequence[str]) -> NDArray[np.float32]:
    numbers = {term: number for number, term in enumerate(terms)}
    counts = np.zeros(len(terms))
    for document in documents:
        for term in document:
            if term in numbers:
                counts[numbers[term]] += 1
    return np.asarray(_SMOOTHING / (_SMOOTHING + counts / counts.sum()), np.float32)


def _centred(table: NDArray[np.float32]) -> NDArray[np.float32]:
    known = table.any(axis=1)
    table[known] -= table[known].mean(axis=0)
    lengths = np.linalg.norm(table, axis=1, keepdims=True)
    return np.asarray(table / np.where(lengths > 0, lengths, 1.0), np.float32)
