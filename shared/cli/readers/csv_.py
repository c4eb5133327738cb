"""CSV as in RFC 4180: a header, commas (or another delimiter), quotes around what contains one.

Not read with pandas: a wrong quote there swallows lines or ends the import, and line numbers are lost. Here a row
that is broken costs its first line; reading goes on with the next one.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from shared.cli.console import Refusal
from shared.cli.readers.lines import BrokenLine, Lines
from shared.cli.readers.rows import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAX_FIELD_CHARACTERS = 1024 * 1024
"""Longest field; a quote that is never closed is noticed after this many characters."""
_SHOWN = 200


class CsvSource:
    """Rows of a CSV file."""

    typed = False
    unit = "line"

    def __init__(self, path: Path, delimiter: str = ",") -> None:
        self._path = path
        self._delimiter = delimiter
        self.total = path.stat().st_size
        csv.field_size_limit(MAX_FIELD_CHARACTERS)
        with path.open("rb") as file:
            self._header = self._read_header(Lines(file))
        self.columns: tuple[str, ...] | None = tuple(name for name in self._header if name)

    def rows(self) -> Iterator[Row | BadRow]:
        """Yields the rows after the header; an empty field is None."""
        with self._path.open("rb") as file:
            lines = Lines(file)
            self._read_header(lines)
            while True:
                lines.begin()
                try:
                    fields = self._next_record(lines)
                except StopIteration:
                    return
                except (csv.Error, BrokenLine) as error:
                    yield _bad(lines, str(error))
                    continue
                if fields and len(fields) != len(self._header):
                    yield _bad(lines, f"it has {len(fields)} fields, the header has {len(self._header)}")
                elif fields:
                    values = {name: value or None for name, value in zip(self._header, fields, strict=True) if name}
                    yield Row(lines.taken[0].number, values, lines.taken[-1].end)

    def _read_header(self, lines: Lines) -> list[str]:
        try:
            header = [name.strip() for name in self._next_record(lines)]
        except StopIteration:
            raise Refusal(f"{self._path} is empty: the first line must name the columns") from None
        except (csv.Error, BrokenLine) as error:
            raise Refusal(f"{self._path}: the first line must name the columns, and cannot be read: {error}") from error
        twice = sorted({name for name in header if name and header.count(name) > 1})
        if twice:
            raise Refusal(f"{self._path}: the header names {', '.join(twice)} more than once")
        return header

    def _next_record(self, lines: Lines) -> list[str]:
        # One reader a record: after an error the next record begins afresh.
        return next(csv.reader(lines, delimiter=self._delimiter, strict=True))


def _bad(lines: Lines, reason: str) -> BadRow:
    if len(lines.taken) > 1:
        reason = f"{reason} (a quote that opens here runs on to line {lines.taken[-1].number})"
        lines.give_back()
    first = lines.taken[0]
    return BadRow(first.number, reason, first.text.rstrip("\r\n")[:_SHOWN], first.end)
