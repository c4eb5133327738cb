"""Counts of events by item, and how many of the positives fall into a period of time."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from services.ranker.items.arrays import take_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_SHIFT = 1 << 34
"""A key is row * _SHIFT + second: 34 bits hold the seconds since 1970 up to the year 2514."""
_MERGE_AT = 4_096
_CLOCK_SHARE, _CLOCK_EVENTS = 0.01, 1_000
Keys: TypeAlias = "tuple[NDArray[np.int64], list[int]]"
"""Keys in order, and those that have come since: one reference, so that who reads it meanwhile counts none twice."""
_PRIOR_RATINGS = 5.0
"""Ratings at the overall mean that every item is given, so that one rating does not make a mean."""


class Popularity:
    """Events, positives and ratings by row of the item table. Grows with the largest row that is counted."""

    def __init__(self, *, max_keys: int = 5_000_000) -> None:
        self.events: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self.positives: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        self.rating_sum: NDArray[np.float64] = np.zeros(0, dtype=np.float64)
        self.ratings: NDArray[np.float32] = np.zeros(0, dtype=np.float32)
        # Sums over all items, kept up to date: no call adds up the catalogue.
        self.all_positives = self._all_ratings = self._all_rating_sum = 0.0
        self.clock = 0
        self._since_clock = 0
        self._sorted: Keys = (np.zeros(0, dtype=np.int64), [])
        self._max_keys = max_keys

    def add(self, row: int, second: int, *, positive: bool, rating: float | None) -> None:
        """Counts one event of a row at `second` since 1970."""
        if row >= len(self.events):
            self._grow(row + 1)
        self.events[row] += 1
        if rating is not None:
            self.rating_sum[row] += rating
            self.ratings[row] += 1
            self._all_rating_sum += rating
            self._all_ratings += 1
        if positive:
            self.positives[row] += 1
            self.all_positives += 1
            fresh = self._sorted[1]
            fresh.append(row * _SHIFT + max(second, 0))
            if len(fresh) >= _MERGE_AT:
                self.settle()

    def keep_time(self) -> None:
        """Settles when what is new may move the clock: to be called at the end of the log, however short it is."""
        keys, fresh = self._sorted
        if self._since_clock + len(fresh) > len(keys) * _CLOCK_SHARE:
            self.settle()

    def settle(self) -> None:
        """Sorts what is new into what is old; drops the oldest keys past the limit."""
        old, fresh = self._sorted
        if not fresh:
            return
        keys = np.concatenate([old, np.array(fresh, dtype=np.int64)])
        keys.sort()
        if len(keys) > self._max_keys:
            seconds = keys % _SHIFT
            keys = keys[seconds > np.partition(seconds, len(keys) - self._max_keys)[len(keys) - self._max_keys]]
        self._sorted = (keys, [])
        self._since_clock += len(fresh)
        if self._since_clock > len(keys) * _CLOCK_SHARE:
            self._set_clock(keys)

    def _set_clock(self, keys: NDArray[np.int64]) -> None:
        """Sets `clock`: when the events of the log end, seconds since 1970; 0 without a positive.

        It is the time of the 1,000th newest positive, or of the newest hundredth where there are fewer: a handful
        of stragglers, years after a data set ends, do not make all of it old.
        """
        self._since_clock = 0
        if len(keys):
            back = min(_CLOCK_EVENTS, int(len(keys) * _CLOCK_SHARE))
            seconds = keys % _SHIFT
            place = len(seconds) - 1 - back
            self.clock = int(np.partition(seconds, place)[place])

    def within(self, rows: NDArray[np.intp], starts: Sequence[int], end: int) -> NDArray[np.float32]:
        """Returns the positives of n rows from each of `starts` to second `end`, both included: float32 (starts, n)."""
        keys, waiting = self._sorted
        known = np.maximum(rows, 0).astype(np.int64) * _SHIFT
        # A count up to a second is the place of the first key after it.
        after = np.array([*(max(start, 0) for start in starts), max(end + 1, 0)], dtype=np.int64)
        places = np.searchsorted(keys, known + after[:, None])
        counts: NDArray[np.float32] = np.maximum(places[-1] - places[:-1], 0).astype(np.float32)
        if waiting:
            fresh = np.array(waiting, dtype=np.int64)
            seconds = fresh % _SHIFT
            for turn, start in enumerate(starts):
                recent = (fresh // _SHIFT)[(seconds >= start) & (seconds <= end)]
                counts[turn] += take_rows(np.bincount(recent), rows, 0).astype(np.float32)
        counts[:, rows < 0] = 0
        return counts

    def first_and_last(self, rows: NDArray[np.intp], end: int) -> NDArray[np.float64]:
        """Returns when n rows had their first and their newest positive up to second `end`: float64 (2, n), seconds.

        NaN where there was none. The newest few thousand, that are not settled yet, are not counted.
        """
        keys = self._sorted[0]
        out = np.full((2, len(rows)), np.nan)
        if not len(keys):
            return out
        known = np.maximum(rows, 0).astype(np.int64) * _SHIFT
        begin, after = np.searchsorted(keys, np.stack([known, known + max(end + 1, 0)]))
        found = (after > begin) & (rows >= 0)
        out[0, found] = keys[begin[found]] - known[found]
        out[1, found] = keys[after[found] - 1] - known[found]
        return out

    def take(self, column: NDArray[np.float32], rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Returns a column's values at n rows, 0 where nothing was counted."""
        return take_rows(column, rows, 0)

    def mean_rating(self, rows: NDArray[np.intp]) -> NDArray[np.float32]:
        """Returns the mean rating of n rows, drawn to the overall mean where there are few; NaN without any rating."""
        overall = self.overall_rating
        if np.isnan(overall):
            return np.full(len(rows), np.nan, dtype=np.float32)
        sums = take_rows(self.rating_sum, rows, 0)
        means = (sums + _PRIOR_RATINGS * overall) / (self.take(self.ratings, rows) + _PRIOR_RATINGS)
        return means.astype(np.float32)

    @property
    def overall_rating(self) -> float:
        """Mean of all ratings; NaN without any."""
        return self._all_rating_sum / self._all_ratings if self._all_ratings else float("nan")

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Returns the state as arrays, for an artifact."""
        self.settle()
        return {
            "events": self.events,
            "positives": self.positives,
            "rating_sum": self.rating_sum,
            "ratings": self.ratings,
            "keys": self._sorted[0],
        }

    @classmethod
    def from_arrays(cls, arrays: dict[str, NDArray[np.generic]]) -> Popularity:
        """Returns the state of `arrays`."""
        own = cls()
        own.events = arrays["events"].astype(np.float32, copy=False)
        own.positives = arrays["positives"].astype(np.float32, copy=False)
        own.rating_sum = arrays["rating_sum"].astype(np.float64, copy=False)
        own.ratings = arrays["ratings"].astype(np.float32, copy=False)
        own.all_positives = float(own.positives.sum(dtype=np.float64))
        own._all_ratings = float(own.ratings.sum(dtype=np.float64))
        own._all_rating_sum = float(own.rating_sum.sum())
        keys = arrays["keys"].astype(np.int64, copy=False)
        own._sorted = (keys, [])
        own._set_clock(keys)
        return own

    def _grow(self, needed: int) -> None:
        size = max(needed, len(self.events) * 3 // 2)
        for name in ("events", "positives", "rating_sum", "ratings"):
            old = getattr(self, name)
            grown = np.zeros(size, dtype=old.dtype)
            grown[: len(old)] = old
            setattr(self, name, grown)
