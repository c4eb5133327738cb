"""Categories and number attributes of items as arrays, by row."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.items.arrays import take_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from shared.data.nouns import Item

MAX_CATEGORY_COLUMNS = 256
"""Categories that have a column; items of later ones count as having fewer."""
YEAR = "year"
"""The number attribute that says when an item came out; its column comes first."""
MAX_NUMBER_COLUMNS = 8
"""Number attributes that have a column, the first that are seen."""


class ItemAttributes:
    """`categories`: uint8 (rows, columns). `numbers`: float32 (rows, columns), NaN where the item has none.

    Those of an artifact are as wide as they were written, and made wide enough for more when they are written to.
    """

    def __init__(self) -> None:
        self.category_columns: dict[str, int] = {}
        self.number_columns: dict[str, int] = {YEAR: 0}
        self._categories: NDArray[np.uint8] = np.zeros((0, MAX_CATEGORY_COLUMNS), dtype=np.uint8)
        self._numbers: NDArray[np.float32] = np.full((0, MAX_NUMBER_COLUMNS), np.nan, dtype=np.float32)

    def put(self, row: int, item: Item) -> None:
        """Sets the row of an item."""
        if row >= len(self._categories) or self._is_narrow:
            self._grow(row + 1)
        self._categories[row] = 0
        for name in item.categories:
            column = _column(self.category_columns, name, MAX_CATEGORY_COLUMNS)
            if column is not None:
                self._categories[row, column] = 1
        self._numbers[row] = np.nan
        for name, value in item.attributes.items():
            if isinstance(value, bool) or not isinstance(value, int | float):
                continue
            column = _column(self.number_columns, name, MAX_NUMBER_COLUMNS)
            if column is not None:
                self._numbers[row, column] = value

    @property
    def widths(self) -> tuple[int, int]:
        """How many category and number columns there are, at least one each.

        An item that arrives may add one at any time: who combines several arrays reads the widths once.
        """
        return max(len(self.category_columns), 1), len(self.number_columns)

    def categories(self, rows: NDArray[np.intp], width: int) -> NDArray[np.float32]:
        """Returns 0/1 by the first `width` categories of n rows: float32 (n, width); zeros for row -1."""
        return take_rows(self._categories[:, :width], rows, 0).astype(np.float32)

    def numbers(self, rows: NDArray[np.intp], width: int) -> NDArray[np.float32]:
        """Returns the first `width` numbers of n rows: float32 (n, width), NaN where missing; the year comes first."""
        return take_rows(self._numbers[:, :width], rows, np.nan)

    def arrays(self, rows: int) -> dict[str, NDArray[np.generic]]:
        """Returns the first `rows` rows as arrays, for an artifact."""
        if len(self._categories) < rows:
            self._grow(rows)
        return {
            "categories": self._categories[:rows, : max(len(self.category_columns), 1)],
            "numbers": self._numbers[:rows, : len(self.number_columns)],
        }

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[np.generic]], categories: list[str], numbers: list[str]
    ) -> ItemAttributes:
        """Returns the state of `arrays` and the column names."""
        own = cls()
        own.category_columns = {name: column for column, name in enumerate(categories)}
        own.number_columns = {name: column for column, name in enumerate(numbers)}
        own._categories = arrays["categories"].astype(np.uint8, copy=False)
        own._numbers = arrays["numbers"].astype(np.float32, copy=False)
        return own

    @property
    def _is_narrow(self) -> bool:
        return bool(self._categories.shape[1] < MAX_CATEGORY_COLUMNS)

    def _grow(self, needed: int) -> None:
        rows = len(self._categories)
        size = max(needed, rows * 3 // 2) if needed > rows else rows
        categories = np.zeros((size, MAX_CATEGORY_COLUMNS), dtype=np.uint8)
        numbers = np.full((size, MAX_NUMBER_COLUMNS), np.nan, dtype=np.float32)
        categories[:rows, : self._categories.shape[1]] = self._categories
        numbers[:rows, : self._numbers.shape[1]] = self._numbers
        self._categories, self._numbers = categories, numbers


def _column(columns: dict[str, int], name: str, limit: int) -> int | None:
    column = columns.get(name)
    if column is None and len(columns) < limit:
        column = columns[name] = len(columns)
    return column
