"""How good vectors are for items that nobody has met: NDCG@10 among the items of the validation fold.

The way candidates places new items, made small. From the likes that the training may see:

    Y, X     factors of items and of users by alternating least squares (`factors.py`)
    W        ridge from [vector, attributes, 1] to Y, an item weighing √(its likes)
    score    X_u · [vector, attributes, 1]_i W     for the fold's items i

A user's fold items that it likes are relevant; the mean is over users with one at least. Attributes (categories, and
numbers in tenths of the catalogue) are part of it, because they are in candidates' map, too: vectors that only repeat
the genres must not look good.

The fold has two halves. One is looked at after every pass: it says when to stop, and which weights are best. The best
of several looks is too good on it, by chance alone; so whether the base is beaten is said by the other half, once, with
a margin (`verdict.py`).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.embedding.training.factors import fit_factors
from services.embedding.training.verdict import compare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from services.embedding.training.corpus import Corpus
    from services.embedding.training.verdict import Verdict
    from shared.data.nouns import Item

CUT = 10
PENALTY = 3.0
_BIAS_PENALTY = 1e-3
MAX_CATEGORIES = 64
MAX_NUMBERS = 16
BINS = 10
MAX_USERS = 5_000
"""Users that are asked at most, evenly drawn of more."""
_DISCOUNT = 1 / np.log2(np.arange(2, CUT + 2))


@dataclass(frozen=True, eq=False)
class _Half:
    """Half of the fold, and the users who can be asked about it."""

    rows: NDArray[np.int64]
    """Its items."""
    relevant: tuple[NDArray[np.int64], ...]
    """Places in `rows` that each user likes, at least one."""
    users: NDArray[np.float64]
    """Their factors, (users, factors)."""

    @classmethod
    def of(cls, rows: NDArray[np.int64], corpus: Corpus, user_factors: NDArray[np.float32]) -> _Half:
        place = np.full(len(corpus.items), -1)
        place[rows] = np.arange(len(rows))
        relevant = [place[corpus.likes.of(user)] for user in range(len(corpus.likes.starts) - 1)]
        known = np.diff(corpus.train.starts) > 0
        asked = [user for user, own in enumerate(relevant) if (own >= 0).any() and known[user]]
        asked = asked[:: max(1, -(-len(asked) // MAX_USERS))]
        own = tuple(relevant[user][relevant[user] >= 0] for user in asked)
        return cls(rows, own, user_factors[asked].astype(np.float64))


class Judge:
    """Scores vectors of the corpus's items; what does not depend on them is computed once."""

    def __init__(self, corpus: Corpus) -> None:
        counts = corpus.train.per_item(len(corpus.items))
        self._fitted = np.flatnonzero(counts)
        self._weights = np.sqrt(counts[self._fitted]).astype(np.float64)
        item_factors, user_factors = fit_factors(corpus.train, len(corpus.items))
        self._targets = item_factors[self._fitted].astype(np.float64)
        self._attributes = _attributes(corpus.items)
        # Every other item in the catalogue's order: both halves have old and new ones.
        self._stopping = _Half.of(corpus.hidden[::2], corpus, user_factors)
        self._deciding = _Half.of(corpus.hidden[1::2], corpus, user_factors)

    @property
    def needed(self) -> NDArray[np.int64]:
        """Rows of the items whose vectors decide score and verdict, ascending."""
        return np.union1d(self._fitted, np.union1d(self._stopping.rows, self._deciding.rows))

    @property
    def users(self) -> int:
        """Number of users that the score is a mean over."""
        return len(self._stopping.relevant)

    def score(self, vectors: NDArray[np.float32]) -> float:
        """Returns NDCG@10 among the items that say when to stop, 0 to 1; 0 when no user can be asked.

        Args:
            vectors: float32 (items, dim), of all items of the corpus; rows that are not `needed` do not matter.

        """
        found = self._ndcg(vectors, self._stopping)
        return float(found.mean()) if len(found) else 0.0

    def verdict(self, vectors: NDArray[np.float32], base: NDArray[np.float32], seed: int) -> Verdict:
        """Returns whether vectors beat the base's on the items that stopped nothing; arrays as those of `score`."""
        return compare(self._ndcg(vectors, self._deciding), self._ndcg(base, self._deciding), seed)

    def _ndcg(self, vectors: NDArray[np.float32], half: _Half) -> NDArray[np.float64]:
        """Returns NDCG@10 of each user of a half, float64 (users,)."""
        found = np.zeros(len(half.relevant))
        if not len(found):
            return found
        weights = _ridge(self._design(vectors, self._fitted), self._targets, self._weights)
        scores = half.users @ (self._design(vectors, half.rows) @ weights).T
        best = np.argsort(-scores, axis=1, kind="stable")[:, :CUT]
        for place, (own, order) in enumerate(zip(half.relevant, best, strict=True)):
            hits = np.isin(order, own)
            found[place] = (_DISCOUNT[: len(hits)] * hits).sum() / _DISCOUNT[: min(len(own), CUT)].sum()
        return found

    def _design(self, vectors: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.hstack([vectors[rows], self._attributes[rows], np.ones((len(rows), 1))]).astype(np.float64)


def _ridge(
    features: NDArray[np.float64], targets: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    weighted = features.T * weights
    left = weighted @ features
    penalties = np.full(len(left), PENALTY)
    penalties[-1] = _BIAS_PENALTY
    left[np.diag_indices_from(left)] += penalties
    return np.asarray(np.linalg.solve(left, weighted @ targets), np.float64)


def _attributes(items: Sequence[Item]) -> NDArray[np.float32]:
    """Returns the items' most frequent categories and numeric attributes as zeros and ones, (items, features)."""
    counts = Counter(category for item in items for category in set(item.categories))
    columns = [
        np.array([category in item.categories for item in items])
        for category, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_CATEGORIES]
    ]
    numbers = Counter(name for item in items for name, value in item.attributes.items() if _is_number(value))
    for name, _ in sorted(numbers.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_NUMBERS]:
        given = [item.attributes.get(name) for item in items]
        values = np.array([float(value) if _is_number(value) else np.nan for value in given])  # type: ignore[arg-type]  # a number
        edges = np.unique(np.nanquantile(values, np.linspace(0, 1, BINS + 1))[1:-1])
        bins = np.where(np.isnan(values), -1, np.searchsorted(edges, values, side="right"))
        columns += [bins == one for one in range(len(edges) + 1)]
    return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros((len(items), 0), np.float32)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
