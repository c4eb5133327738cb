"""JSON lines: one object a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from shared.cli.readers.lines import Lines
from shared.cli.readers.rows import BadRow, Row

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from shared.cli.readers.lines import Line

_SHOWN = 200


class JsonlSource:
    """Rows of a file of JSON objects."""

    columns: tuple[str, ...] | None = None
    typed = True
    unit = "line"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.total = path.stat().st_size

    def rows(self) -> Iterator[Row | BadRow]:
        """Yields the rows."""
        with self._path.open("rb") as file:
            lines = Lines(file)
            while True:
                lines.begin()
                try:
                    line = lines.next_line()
                except StopIteration:
                    return
                if line.broken or line.text.strip():
                    yield _row(line)


def _row(line: Line) -> Row | BadRow:
    reason = line.broken
    if not reason:
        try:
            values = json.loads(line.text)
        except (ValueError, RecursionError) as error:
            reason = f"not JSON: {error}" if isinstance(error, ValueError) else "nested too deeply"
        else:
            if isinstance(values, dict):
                return Row(line.number, values, line.end)
            reason = "not a JSON object"
    return BadRow(line.number, reason, line.text.rstrip("\r\n")[:_SHOWN], line.end)
