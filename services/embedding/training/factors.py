"""Factors of likes, small: what vectors of texts are judged by.

Alternating least squares on implicit feedback (Hu, Koren and Volinsky 2008) with confidences in the manner of BM25, as
candidates fits its own:

    min Σ_(u, i) c_ui (p_ui - x_u·y_i)² + r (Σ |x_u|² + Σ |y_i|²),   p_ui = 1 and c_ui = w_ui where liked, else 0 and 1
    w_ui = max(ln(users) - ln(1 + likes of i), 0.05) / (1/2 + 1/2 · likes of u / mean likes of a user)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.embedding.training.corpus import Likes

FACTORS = 32
PENALTY = 20.0
ITERATIONS = 5
_MIN_WEIGHT = 0.05


def fit_factors(likes: Likes, items: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns the factors of items and of users, float32 (items, factors) and (users, factors); zeros without likes."""
    users = len(likes.starts) - 1
    counts = np.diff(likes.starts)
    mean = max(float(counts[counts > 0].mean()) if (counts > 0).any() else 1.0, 1.0)
    rarity = np.log(max(users, 2)) - np.log1p(likes.per_item(items))
    weights = np.maximum(rarity, _MIN_WEIGHT)[likes.items] / (0.5 + 0.5 * counts[likes.users] / mean)
    of_user = (likes.starts, likes.items, weights.astype(np.float32))
    order = np.argsort(likes.items, kind="stable")
    starts = np.concatenate([[0], np.cumsum(likes.per_item(items))])
    of_item = (starts, likes.users[order], weights[order].astype(np.float32))
    random = np.random.default_rng(0)
    item_factors = (random.standard_normal((items, FACTORS)) * 0.01).astype(np.float32)
    user_factors = _half_step(of_user, item_factors)
    for _ in range(ITERATIONS):
        item_factors = _half_step(of_item, user_factors)
        user_factors = _half_step(of_user, item_factors)
    return item_factors, user_factors


def _half_step(
    rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]], other: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Solves one side with the other one held: x = (Y'Y + Y'(C - I)Y + r I)^-1 Y'c."""
    starts, columns, weights = rows
    gram = other.T @ other + np.float32(PENALTY) * np.eye(other.shape[1], dtype=np.float32)
    solved = np.zeros((len(starts) - 1, other.shape[1]), np.float32)
    for row in np.flatnonzero(np.diff(starts)).tolist():
        own = slice(starts[row], starts[row + 1])
        known, weight = other[columns[own]], weights[own]
        solved[row] = np.linalg.solve(gram + (known.T * (weight - 1)) @ known, known.T @ weight)
    return solved
