"""What every reader yields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@dataclass(frozen=True, slots=True)
class Row:
    """One row: where it begins (line or row number, from 1), its values by column, the file's position after it."""

    line: int
    values: Mapping[str, Any]
    position: int


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read at all: where it begins, why, as much of it as can be shown."""

    line: int
    reason: str
    raw: str
    position: int


class Source(Protocol):
    """A file of rows, read once from start to end in bounded memory."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The columns by name; None when every row names its own (JSONL)."""

    @property
    def typed(self) -> bool:
        """False when every value is text (CSV): numbers and truth values are recognised by their looks."""

    @property
    def unit(self) -> str:
        """What `Row.line` counts: "line" or "row"."""

    @property
    def total(self) -> int:
        """The position after the last row."""

    def rows(self) -> Iterator[Row | BadRow]:
        """Yields every row in order; blank lines are none.

        Raises:
            OSError: the file cannot be read.
            Refusal: the file is broken from here on.

        """
