"""Item vectors learned between two trainings, from the users who like an item."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from services.candidates.arrays import F32
    from services.candidates.sources.als import AlsModel

MAX_ITEMS = 20_000
"""Items with likers in memory, at most; those longest without a new like go first."""
MAX_LIKERS = 200
"""Likers of an item that count, the newest: 50 KB at 64 factors."""
MAX_DELTA = 2.0
"""How far likes move an item from what its text says, relative to the length of that vector."""


class ItemFactors:
    """The item's half-step of ALS, towards what its text says: content plus a bounded learned delta.

    With X the trained users' vectors, x_u those of the likers, c_u their confidence, r the penalty of an item with so
    many likers, and m the mapped vector, y solves (X'X + sum (c_u - 1) x_u x_u' + r I) y = sum c_u x_u + r m:
    Hu, Koren and Volinsky's step (2008) with the penalty on the distance to m in place of that to 0. One writer.
    """

    def __init__(self, model: AlsModel) -> None:
        self._model = model
        self._likers: OrderedDict[int, OrderedDict[str, tuple[F32, float]]] = OrderedDict()

    @property
    def can_learn(self) -> bool:
        """Whether the model says what the trained users' vectors are together: an engine of its own may not."""
        return bool(self._model.user_gram.any())

    def add(self, row: int, user_id: str, user: F32, strength: float) -> None:
        """Counts a like of the item in this row by a user with this vector, (factors,)."""
        likers = self._likers.setdefault(row, OrderedDict())
        likers[user_id] = (user, strength)
        likers.move_to_end(user_id)
        self._likers.move_to_end(row)
        if len(likers) > MAX_LIKERS:
            likers.popitem(last=False)
        if len(self._likers) > MAX_ITEMS:
            self._likers.popitem(last=False)

    def has(self, row: int) -> bool:
        """Returns whether somebody's like of this item is known."""
        return row in self._likers

    def vector(self, row: int, mapped: F32 | None) -> F32:
        """Returns the vector of an item that has likers, (factors,); `mapped` is what its text says, None: nothing."""
        likers = self._likers[row]
        users = np.stack([user for user, _ in likers.values()])
        strengths = np.array([strength for _, strength in likers.values()], np.float32)
        idf = self._model.bm25.idf_of(len(users))
        saturation = (self._model.bm25.k1 + 1) / (self._model.bm25.k1 + strengths)
        confidence = self._model.alpha * strengths * saturation * idf
        left = self._model.user_gram + (users.T * (confidence - 1)) @ users
        penalty = self._model.regularization * self._model.item_penalties.of_one(len(users))
        left.flat[:: len(left) + 1] += penalty  # the diagonal
        prior = np.zeros(len(left), np.float32) if mapped is None else mapped
        learned = np.linalg.solve(left, users.T @ confidence + penalty * prior)
        if mapped is None:
            return learned.astype(np.float32)
        delta = learned - mapped
        most = MAX_DELTA * float(np.linalg.norm(mapped))
        length = float(np.linalg.norm(delta))
        if length > most:
            delta *= most / length
        moved: F32 = (mapped + delta).astype(np.float32)
        return moved

    def forget(self, user_id: str) -> list[int]:
        """Takes a user out; returns the rows of the items that the user liked."""
        rows = [row for row, likers in self._likers.items() if likers.pop(user_id, None) is not None]
        for row in rows:
            if not self._likers[row]:
                del self._likers[row]
        return rows

    def drop(self, row: int, user_id: str) -> bool:
        """Takes one like back; returns whether it was known."""
        likers = self._likers.get(row, OrderedDict())
        known = likers.pop(user_id, None) is not None
        if known and not likers:
            del self._likers[row]
        return known

    def clear(self) -> None:
        """Forgets all likes."""
        self._likers.clear()
