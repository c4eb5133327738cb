"""BM25 weights of a user's likes: rare items say more, a like among many says less."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import scipy.sparse as sp

    from services.candidates.arrays import F32, I64

MIN_IDF = 0.05
"""Floor of the item weight: an item that everybody likes must not get a weight of 0 or below."""


@dataclass(frozen=True)
class Bm25:
    """Okapi BM25 with users as documents and items as terms (Robertson and Zaragoza, 2009).

    weight = s (k1 + 1) / (k1 (1 - b + b n / mean n) + s) * idf(item), with s the strength of the like and n the
    number of the user's likes.
    """

    idf: F32
    mean_likes: float
    k1: float
    b: float
    log_users: float = 0.0
    """Natural logarithm of the number of users with likes."""

    @classmethod
    def fit(cls, likes: sp.csr_matrix, k1: float, b: float) -> Bm25:
        """Counts a matrix of likes, shape (users, items)."""
        per_user = np.diff(likes.indptr)
        active = per_user[per_user > 0]
        per_item = np.bincount(likes.indices, minlength=likes.shape[1])
        log_users = float(np.log(max(len(active), 1)))
        idf = log_users - np.log1p(per_item)
        mean_likes = float(active.mean()) if len(active) else 1.0
        return cls(np.maximum(idf, MIN_IDF).astype(np.float32), mean_likes, k1, b, log_users)

    def idf_of(self, likes: int) -> float:
        """Returns the weight of an item that this many users like."""
        return max(self.log_users - float(np.log1p(likes)), MIN_IDF)

    def weights(self, rows: I64, strengths: F32, total: int | I64) -> F32:
        """Returns the weights of likes whose users have `total` likes in all (one number, or one per like); (n,)."""
        norm = self.k1 * ((1 - self.b) + self.b * total / self.mean_likes)
        weights: F32 = (strengths * (self.k1 + 1) / (norm + strengths) * self.idf[rows]).astype(np.float32)
        return weights
