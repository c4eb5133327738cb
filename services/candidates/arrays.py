"""Array types of this service, and the one growing array that live state is kept in."""

from __future__ import annotations

from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I32 = NDArray[np.int32]
I64 = NDArray[np.int64]
Mask = NDArray[np.bool_]

ScalarT = TypeVar("ScalarT", bound=np.generic)

_MIN_CAPACITY = 256


class GrowingArray(Generic[ScalarT]):
    """A one-dimensional array that rows are appended to.

    One writer, any number of readers in other threads: a reader keeps the array that `values` gave it, also when
    the writer has moved on to a bigger one meanwhile.
    """

    def __init__(self, values: NDArray[ScalarT], fill: object) -> None:
        self._fill = fill
        self._size = len(values)
        self._data = np.array(values)

    @property
    def values(self) -> NDArray[ScalarT]:
        """The values, shape (size,); a view, not a copy."""
        return self._data[: self._size]

    def grow(self, size: int) -> None:
        """Makes the array at least `size` long; new places hold the fill value."""
        if size > len(self._data):
            bigger = np.full(max(size * 5 // 4, _MIN_CAPACITY), self._fill, dtype=self._data.dtype)
            bigger[: self._size] = self._data[: self._size]
            self._data = bigger
        self._size = max(self._size, size)
