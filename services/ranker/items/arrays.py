"""Array types, and reading rows that an array may not reach."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from typing import Any

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]
Rows = NDArray[np.intp]

ScalarT = TypeVar("ScalarT", bound=np.generic)


def take_rows(array: NDArray[ScalarT], rows: Rows, fill: Any) -> NDArray[ScalarT]:
    """Returns `array[rows]` along the first axis, `fill` where a row is -1 or past the end."""
    out = np.full((len(rows), *array.shape[1:]), fill, dtype=array.dtype)
    inside = (rows >= 0) & (rows < len(array))
    out[inside] = array[rows[inside]]
    return out
