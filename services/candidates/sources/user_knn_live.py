"""The likes of users as of now: those of the training, and what the log brought since."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.sources.user_knn_model import unit_vector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.candidates.arrays import F32, I32, I64, ScalarT
    from services.candidates.ports import VectorIndex
    from services.candidates.sources.user_knn_model import FoldIn, UserKnnModel

_REFOLD_SHARE = 0.1
"""A vector is made anew when the user's likes changed by this share: a long history's hardly moves with one more."""


@dataclass(frozen=True, eq=False)
class _Own:
    """A user's newest likes, the oldest first, and how many changed since the vector was made."""

    columns: I32
    strengths: F32
    changed: int = 0

    @property
    def is_due(self) -> bool:
        return self.changed >= max(1, len(self.columns) * _REFOLD_SHARE)


def _appended(values: NDArray[ScalarT], value: float) -> NDArray[ScalarT]:
    """Returns the values with one more. A third of the time of `np.append`: every event of the log comes by here."""
    longer = np.empty(len(values) + 1, values.dtype)
    longer[:-1] = values
    longer[-1] = value
    return longer


_NONE = _Own(np.zeros(0, np.int32), np.zeros(0, np.float32))


class LiveUsers:
    """Users by row: those of the training first, then those that came since.

    Of users with events since the training the likes are kept here, at most `max_live_users` of them: those longest
    without a new one are dropped first, to what the training knew of them. One writer, readers in other threads:
    what is kept of a user is replaced, never changed.
    """

    def __init__(self, model: UserKnnModel, factors: FoldIn, index: VectorIndex) -> None:
        self._model = model
        self._factors = factors
        self._index = index
        self._trained = len(model.vectors)
        self._own: OrderedDict[int, _Own] = OrderedDict()
        self._new_rows: dict[str, int] = {}
        self._new_ids: dict[int, str] = {}
        self._free: list[int] = []
        self._next = self._trained
        self.revision = 0
        """Changes with every change of a like."""
        # One more: a row past the training has no likes of the training.
        self._starts = np.append(model.indptr[:-1], 0)
        self._ends = np.append(model.indptr[1:], 0)

    @property
    def max_rows(self) -> int:
        """No row is as large as this."""
        return self._trained + self._model.parameters.max_live_users + 1

    def row_of(self, user_id: str) -> int | None:
        """Returns the row of a user; None for one without."""
        row = self._new_rows.get(user_id)
        return self._model.ids.row_of(user_id) if row is None else row

    def id_of(self, row: int) -> str | None:
        """Returns the id of a row; None for a forgotten user."""
        return self._new_ids.get(row) if row >= self._trained else self._model.ids.id_of(row)

    def likes_of(self, rows: I64) -> tuple[I64, I32, F32]:
        """Returns how many likes each of these users has, the items liked, user after user, and the strengths."""
        inside = np.minimum(rows, self._trained)
        starts, ends = self._starts[inside].tolist(), self._ends[inside].tolist()
        # Slices: to look the likes up one by one takes longer.
        columns, strengths = [_NONE.columns], [_NONE.strengths]
        for row, start, end in zip(rows.tolist(), starts, ends, strict=True):
            own = self._own.get(row)
            columns.append(self._model.columns[start:end] if own is None else own.columns)
            strengths.append(self._model.strengths[start:end] if own is None else own.strengths)
        lengths = np.fromiter(map(len, columns[1:]), np.int64, len(rows))
        return lengths, np.concatenate(columns), np.concatenate(strengths)

    def like(self, user_id: str, item: int) -> None:
        """Adds a like of strength 1, unless it is there; what was only tried becomes a like."""
        row = self.row_of(user_id)
        if row is None:
            row = self._new_row(user_id)
        own = self._likes(row)
        columns, strengths = own.columns, own.strengths
        before = columns == item
        if before.any():
            if (strengths[before] != np.float32(self._model.parameters.tried_weight)).any():
                return
            columns, strengths = columns[~before], strengths[~before]
        limit = self._model.parameters.newest_likes
        columns, strengths = _appended(columns, item)[-limit:], _appended(strengths, 1)[-limit:]
        self._keep(row, _Own(columns, strengths, own.changed + 1))

    def take_back(self, user_id: str, item: int) -> None:
        """Takes an item out of the user's likes, where it is one, or was tried."""
        row = self.row_of(user_id)
        if row is None:
            return
        own = self._likes(row)
        others = own.columns != item
        if not others.all():
            self._keep(row, _Own(own.columns[others], own.strengths[others], own.changed + 1))

    def forget(self, user_id: str) -> None:
        """Takes a user out: vector, likes and id."""
        row = self.row_of(user_id)
        if row is None:
            return
        self._index.remove(np.array([row]))
        self.revision += 1
        if row >= self._trained:
            self._drop_new(row)
        else:
            self._model.ids.erase(row)
        self._own.pop(row, None)

    def reset(self) -> None:
        """Takes all users out."""
        self._index.remove(np.arange(self._next))
        self._model.ids.clear()
        for kept in (self._own, self._new_rows, self._new_ids):
            kept.clear()
        self._free, self._next = [], self._trained
        self.revision += 1

    def _likes(self, row: int) -> _Own:
        own = self._own.get(row)
        if own is not None:
            return own
        if row >= self._trained:
            return _NONE
        part = slice(int(self._model.indptr[row]), int(self._model.indptr[row + 1]))
        return _Own(self._model.columns[part], self._model.strengths[part])

    def _keep(self, row: int, own: _Own) -> None:
        if own.is_due or len(own.columns) < self._model.parameters.min_likes:
            self._place(row, own)
            own = _Own(own.columns, own.strengths)
        self._own[row] = own
        self._own.move_to_end(row)
        self.revision += 1
        while len(self._own) > self._model.parameters.max_live_users:
            self._drop_oldest()

    def _place(self, row: int, own: _Own) -> None:
        enough = len(own.columns) >= self._model.parameters.min_likes
        vector = unit_vector(self._factors, own.columns.astype(np.int64), own.strengths) if enough else None
        if vector is not None and vector.any():
            self._index.put(np.array([row]), vector[None])
        else:
            self._index.remove(np.array([row]))

    def _drop_oldest(self) -> None:
        row = next(iter(self._own))
        vector = self._model.vectors[row] if row < self._trained else None
        if vector is not None and vector.any():
            self._index.put(np.array([row]), vector[None])
        else:
            self._index.remove(np.array([row]))
        if row >= self._trained:
            self._drop_new(row)
        del self._own[row]

    def _new_row(self, user_id: str) -> int:
        if self._free:
            row = self._free.pop()
        else:
            row = self._next
            self._next += 1
        self._new_rows[user_id] = row
        self._new_ids[row] = user_id
        return row

    def _drop_new(self, row: int) -> None:
        del self._new_rows[self._new_ids.pop(row)]
        self._free.append(row)
