"""The lines of a text file, numbered, bounded in length, and taken back when a row turns out to be broken."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import IO

MAX_LINE_BYTES = 4 * 1024 * 1024
"""Longest line that is read; the largest valid row is far shorter."""
_BOM = b"\xef\xbb\xbf"


class BrokenLine(ValueError):
    """A line that cannot be read; the text says why."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line: number from 1, text with its end, position in the file after it, why it is broken if it is.

    Bytes that are not UTF-8 become lone surrogates, which no id or text may contain: only that row is refused.
    """

    number: int
    text: str
    end: int
    broken: str = ""


class Lines:
    """Iterates over the text of lines.

    `taken` are the lines since `begin`; `give_back` makes all of them but the first be read again.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._number = 0
        self._end = 0
        self._given_back: deque[Line] = deque()
        self.taken: list[Line] = []

    def __iter__(self) -> Lines:
        return self

    def __next__(self) -> str:
        line = self.next_line()
        if line.broken:
            raise BrokenLine(line.broken)
        return line.text

    def next_line(self) -> Line:
        """Returns the next line, broken or not.

        Raises:
            StopIteration: there is none.

        """
        line = self._given_back.popleft() if self._given_back else self._read()
        self.taken.append(line)
        return line

    def begin(self) -> None:
        """Begins a row."""
        self.taken = []

    def give_back(self) -> None:
        """Gives all lines of the row but its first back, to be read again."""
        self._given_back.extendleft(reversed(self.taken[1:]))
        del self.taken[1:]

    def _read(self) -> Line:
        data = self._file.readline(MAX_LINE_BYTES)
        if not data:
            raise StopIteration
        self._number += 1
        self._end += len(data)
        broken = ""
        if len(data) == MAX_LINE_BYTES and not data.endswith(b"\n"):
            broken = f"the line is longer than {MAX_LINE_BYTES} bytes"
            self._skip_rest()
            data = data[:256]
        if self._number == 1:
            data = data.removeprefix(_BOM)
        return Line(self._number, data.decode(errors="surrogateescape"), self._end, broken)

    def _skip_rest(self) -> None:
        while data := self._file.readline(MAX_LINE_BYTES):
            self._end += len(data)
            if data.endswith(b"\n"):
                return
