"""Batches of what belongs together, drawn so that the popular does not crowd out the rest.

A like of item i by user u is drawn with

    P(u, i) ∝ pop(i)^-a · n(u)^-b

with pop(i) the likes of the item, n(u) those of the user, a `debias`, b `user_debias`. Its partner (`pairs`: one other
liked item j of the user) is drawn with P(j | u) ∝ pop(j)^-a, so that a pair weighs
Σ_u n(u)^-b (pop(i) pop(j))^-a / Z_u.
In a batch the other targets are negatives, except those that the user likes, too, and copies of the target itself.

The batch of step n depends on the seed and n alone: a resumed training goes on with the very batches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.embedding.training.parameters import Objective

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.embedding.training.corpus import Likes
    from services.embedding.training.parameters import FinetuneParameters

_TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Batch:
    """What a step learns from: row r's `targets[r]` belongs to `anchors[r]`."""

    anchors: NDArray[np.int64]
    """Rows of items, (batch, history), -1 where there is none; one column with `pairs`."""
    targets: NDArray[np.int64]
    """Rows of items, (batch,)."""
    negatives: NDArray[np.bool_]
    """(batch, batch): whether target c is a negative of row r."""
    log_q: NDArray[np.float32]
    """(batch,): logarithm of how often each target is drawn."""


class BatchSampler:
    """Draws batches of likes."""

    def __init__(self, likes: Likes, items: int, parameters: FinetuneParameters) -> None:
        counts = np.diff(likes.starts)
        users = likes.users
        # A user with a single like has nothing that it could belong to.
        self._usable = np.flatnonzero(counts[users] > 1)
        self._likes, self._users, self._parameters = likes, users, parameters
        popularity = np.maximum(likes.per_item(items), 1).astype(np.float64)
        self._item_weight = popularity**-parameters.debias
        weights = self._item_weight[likes.items] * counts[users].astype(np.float64) ** -parameters.user_debias
        usable = weights[self._usable]
        self._cumulated = np.cumsum(usable / usable.sum())
        drawn = np.bincount(likes.items[self._usable], weights=usable / usable.sum(), minlength=items)
        self._log_q = np.log(drawn + _TINY).astype(np.float32)
        # Sorted pairs (user, item) as one number: whether a user likes an item is a binary search.
        self._items = items
        self._keys = np.sort(users * items + likes.items)

    def batch(self, step: int) -> Batch:
        """Returns the batch of a step, the same for the same seed and step."""
        parameters = self._parameters
        random = np.random.default_rng([parameters.seed, step])
        places = np.searchsorted(self._cumulated, random.random(parameters.batch), side="right")
        likes = self._usable[np.minimum(places, len(self._usable) - 1)]
        users, targets = self._users[likes], self._likes.items[likes]
        width = 1 if parameters.objective is Objective.PAIRS else parameters.history
        anchors = np.full((parameters.batch, width), -1, np.int64)
        for row, (user, target) in enumerate(zip(users.tolist(), targets.tolist(), strict=True)):
            own = self._likes.of(user)
            own = own[own != target]
            chosen = self._choose(random, own, width)
            anchors[row, : len(chosen)] = chosen
        return Batch(anchors, targets, self._negatives(users, targets), self._log_q[targets])

    def _choose(self, random: np.random.Generator, own: NDArray[np.int64], width: int) -> NDArray[np.int64]:
        if len(own) <= width:
            return own
        if width > 1:
            return random.choice(own, width, replace=False)
        weights = self._item_weight[own]
        return random.choice(own, 1, p=weights / weights.sum())

    def _negatives(self, users: NDArray[np.int64], targets: NDArray[np.int64]) -> NDArray[np.bool_]:
        keys = users[:, None] * self._items + targets[None, :]
        places = np.minimum(np.searchsorted(self._keys, keys), len(self._keys) - 1)
        unliked: NDArray[np.bool_] = self._keys[places] != keys
        return unliked
