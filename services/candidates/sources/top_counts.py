"""Counts by row that change while their best are asked for."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Generic

import numpy as np

from services.candidates.arrays import GrowingArray, ScalarT
from services.candidates.sources.ranking import best_places

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from services.candidates.arrays import I64
    from services.candidates.index.allowed import Allowed

_LEADERS = 4_096
"""Rows kept in order."""
_FIRST_SHARE, _RISEN_SHARE = 0.25, 0.5
"""Of that number: how many are looked at before the others, and how many more may rise before it is made anew."""


class _Leaders:
    """The best rows at one time, and the rows whose counts rose since then.

    All other rows are not better than the last of the leaders was: their counts stayed or fell. The same holds of the
    first few leaders alone, which is enough for whoever wants few.
    """

    def __init__(self, rows: I64, values: NDArray[Any]) -> None:
        self._rows = rows
        self._keys = -values.astype(np.float64)
        self._few = min(len(rows), max(1, int(_LEADERS * _FIRST_SHARE)))
        self._noted = set(rows[: self._few].tolist())
        self._candidates = np.concatenate([rows[: self._few], np.zeros(int(_LEADERS * _RISEN_SHARE), np.int64)])
        self._count = self._few

    def first(self) -> tuple[I64, tuple[float, int]]:
        """Returns the rows to look at first, and what no other row is better than: (-count, row)."""
        return self._candidates[: self._count], self._key(self._few - 1)

    def all(self) -> tuple[I64, tuple[float, int]]:
        """Returns all leaders and all that rose, and what no other row is better than."""
        return np.unique(np.concatenate([self._rows, self._candidates[: self._count]])), self._key(len(self._rows) - 1)

    def note(self, row: int) -> bool:
        """Takes a row that rose; False when there is no room for it."""
        if row in self._noted:
            return True
        if self._count == len(self._candidates):
            return False
        # The row is there before the count says so: readers take no lock.
        self._candidates[self._count] = row
        self._count += 1
        self._noted.add(row)
        return True

    def _key(self, place: int) -> tuple[float, int]:
        return float(self._keys[place]), int(self._rows[place])


class TopCounts(Generic[ScalarT]):
    """A count for each row, and exactly the best of the allowed rows, mostly without a look at all of them.

    The best are looked for among the leaders, as of some time ago, and the rows that rose since. When the n-th best
    found there is not behind the last of the leaders, no other row can be better. Else (a narrow filter) all allowed
    rows are looked at. A reader makes the order anew when too many rows rose.

    One writer, any number of readers in other threads.
    """

    def __init__(self, counts: NDArray[ScalarT]) -> None:
        self._counts = GrowingArray(counts, 0)
        self._leaders: _Leaders | None = None
        self._risen: set[int] | None = None
        self._lock = threading.Lock()  # of `_leaders` and `_risen`; held for microseconds
        self._ordering = threading.Lock()  # only one reader makes the order anew

    @property
    def values(self) -> NDArray[ScalarT]:
        """The counts, (rows,); a view, not a copy."""
        return self._counts.values

    def grow(self, size: int) -> None:
        """Makes room for `size` rows; the new ones have 0."""
        self._counts.grow(size)

    def add(self, row: int, amount: float) -> None:
        """Adds to a count."""
        self.values[row] += amount
        with self._lock:
            if self._risen is not None:
                self._risen.add(row)
            if self._leaders is not None and not self._leaders.note(row):
                self._leaders = None

    def take(self, row: int, amount: float) -> None:
        """Takes from a count, down to 0."""
        values = self.values
        values[row] = max(values[row] - amount, 0)

    def reset(self) -> None:
        """Sets all counts to 0."""
        self.values[:] = 0
        with self._lock:
            self._leaders, self._risen = None, None

    def of(self, rows: I64) -> NDArray[ScalarT]:
        """Returns the counts of these rows; 0 for those that there is no room for."""
        values = self.values
        found = np.zeros(len(rows), values.dtype)
        inside = rows < len(values)
        found[inside] = values[rows[inside]]
        return found

    def best(self, n: int, allowed: Allowed) -> tuple[I64, NDArray[ScalarT]]:
        """Returns the `n` allowed rows with the highest counts and those; of equal counts the lower row first."""
        leaders = self._leaders or self._ordered()
        for looked_at in (leaders.first, leaders.all) if leaders is not None else ():
            rows, others = looked_at()
            rows = rows[rows < len(allowed)]
            rows, values = self._best_of(rows[allowed.has(rows)], n)
            if 0 < n == len(rows) and (-float(values[-1]), int(rows[-1])) <= others:
                return rows, values
        rows = allowed.rows
        return self._best_of(rows[: np.searchsorted(rows, len(self.values))], n)

    def _best_of(self, rows: I64, n: int) -> tuple[I64, NDArray[ScalarT]]:
        counts = self.values[rows]
        places = best_places(rows, counts, n)
        return rows[places], counts[places]

    def _ordered(self) -> _Leaders | None:
        """Makes the order anew; None while another reader does, or when there are no rows."""
        if not self._ordering.acquire(blocking=False):
            return None
        try:
            risen: set[int] = set()
            with self._lock:
                self._risen = risen
            # What rises from here on is in `risen`, whether or not the copy has it.
            values = self.values.copy()
            places = best_places(np.arange(len(values)), values, _LEADERS)
            leaders = _Leaders(places, values[places]) if len(places) else None
            with self._lock:
                is_current = self._risen is risen  # not after a reset
                self._risen = None
                if leaders is None or not is_current or not all(leaders.note(row) for row in risen):
                    return None
                self._leaders = leaders
            return leaders
        finally:
            self._ordering.release()
