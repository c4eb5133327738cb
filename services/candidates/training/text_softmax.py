"""Moves the map from text to factors until users' liked items come before the others, not merely near their factors.

Sampled softmax (Jean et al.: On Using Very Large Target Vocabulary for Neural Machine Translation, 2015), with the
vectors of the users held fixed and the map pulled to the ridge's. What is fitted is one matrix: L-BFGS needs few steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
from scipy.optimize import minimize

from services.candidates.profile import Profile

if TYPE_CHECKING:
    from services.candidates.arrays import F32, F64, I64
    from services.candidates.sources.als import AlsModel
    from services.candidates.sources.hyperparameters import TextParameters

MAX_USERS, MAX_ITEMS = 2_000, 8_000
"""Users and items that are looked at, drawn at random of more: a step takes time in the product of the two."""


def drawn(rows: I64, most: int, seed: int) -> I64:
    """Returns at most so many of the rows, in their order; the same seed draws the same."""
    if len(rows) <= most:
        return rows
    return rows[np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))]


def refit(
    start: F32, features: F32, rows: I64, likes: sp.csr_matrix, als: AlsModel, parameters: TextParameters, seed: int
) -> F32:
    """Returns the weights W that minimise the loss, float32 (features, factors).

    loss = sum_u n_u^-1/2 sum_(i liked by u) -log softmax_i(x_u' W' t_i / temperature) + pull / 2 |W - start|^2

    with x_u the user's vector as serving folds it in, t_i the features of an item, n_u the number of liked items.

    Args:
        start: the weights to begin at, (features, factors).
        features: features of items, float32 (n, features).
        rows: the columns of `likes` that these are, (n,): at most `MAX_ITEMS`.
        likes: strengths, float32 CSR (users, items).
        als: what folds the users in.
        parameters: hyperparameters.
        seed: of the users that are drawn.

    """
    liked = likes[:, rows].tocsr()
    active = drawn(np.flatnonzero(np.diff(liked.indptr)), MAX_USERS, seed)
    if not len(active):
        return start
    users = np.stack([_vector(als, likes, user) for user in active.tolist()]) / np.float32(parameters.temperature)
    objective = _Objective(start, features, users, liked[active], parameters.pull)
    fitted = minimize(
        objective, np.zeros(start.size), jac=True, method="L-BFGS-B", options={"maxiter": parameters.softmax_steps}
    )
    weights: F32 = (start + fitted.x.reshape(start.shape)).astype(np.float32)
    return weights


class _Objective:
    """The loss as a function of W - start, and its gradient; `users` are divided by the temperature."""

    def __init__(self, start: F32, features: F32, users: F32, liked: sp.csr_matrix, pull: float) -> None:
        self._start = start
        self._features = features
        self._users = users
        self._pull = pull
        counts = np.diff(liked.indptr)
        self._user_of = np.repeat(np.arange(len(counts)), counts)
        self._item_of = liked.indices
        weights = np.sqrt(1 / counts).astype(np.float32)
        self._weight_of = weights[self._user_of]
        self._totals = weights * counts
        self._wanted = sp.csr_matrix((self._weight_of, liked.indices, liked.indptr), shape=liked.shape)

    def __call__(self, moved: F64) -> tuple[float, F64]:
        """Returns the loss and its gradient, both flat: float64 (features * factors,)."""
        delta = moved.reshape(self._start.shape)
        items = self._features @ (self._start + delta.astype(np.float32))
        logits = self._users @ items.T
        logits -= logits.max(axis=1, keepdims=True)
        of_liked = logits[self._user_of, self._item_of]
        shares = np.exp(logits, out=logits)
        sums = shares.sum(axis=1)
        loss = float(self._totals @ np.log(sums)) - float(self._weight_of @ of_liked)
        shares *= (self._totals / sums)[:, None]
        by_item = shares.T @ self._users - self._wanted.T @ self._users
        gradient = (self._features.T @ by_item).astype(np.float64) + self._pull * delta
        return loss + 0.5 * self._pull * float((delta**2).sum()), gradient.ravel()


def _vector(als: AlsModel, likes: sp.csr_matrix, user: int) -> F32:
    own = slice(likes.indptr[user], likes.indptr[user + 1])
    return als.fold_in(Profile(likes.indices[own].astype(np.int64), likes.data[own]))
