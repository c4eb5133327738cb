"""Words of a text as people see them, and which of them a token belongs to."""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

Span = tuple[int, int]
"""Beginning and end in a text, code points."""

_JOINERS = "'’-"  # noqa: RUF001 (the apostrophe of typeset text)
"""Between two letters they are part of the word: "don't", "sci-fi"."""
_WITHOUT_SPACES = ((0x3040, 0x30FF), (0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Scripts whose words stand without spaces between them: each character is a word."""


@dataclass(frozen=True, slots=True)
class Word:
    """A word: its surface form, where it begins, and the places of its tokens."""

    surface: str
    start: int
    tokens: tuple[int, ...]


def words_of(text: str, spans: Sequence[Span | None]) -> list[Word]:
    """Returns the words that tokens were read of, in the order of the text. Each token with a span is in exactly one.

    `spans` has the place of each token in the text, None for special tokens. Tokens of one word are together; where a
    token covers several words (").", or a phrase), these are one.
    """
    places = {index: span for index, span in ((i, _trimmed(text, s)) for i, s in enumerate(spans) if s) if span}
    if not places:
        return []
    read = max(end for _, end in places.values())
    merged = _merged([*_scan(text, read), *places.values()])
    starts = [start for start, _ in merged]
    tokens: dict[int, list[int]] = {}
    for index, (start, _) in places.items():
        tokens.setdefault(bisect_right(starts, start) - 1, []).append(index)
    return [
        Word(text[slice(*merged[place])], merged[place][0], tuple(indices)) for place, indices in sorted(tokens.items())
    ]


def _trimmed(text: str, span: Span) -> Span:
    """Returns the span without the spaces around it, which some tokenizers count in; as it is where nothing is left."""
    start, end = span
    inner = text[start:end]
    lead = len(inner) - len(inner.lstrip())
    return (start + lead, start + len(inner.rstrip())) if inner.strip() else span


def _scan(text: str, end: int) -> list[Span]:
    """Returns the spans of the words that begin before `end`: runs of letters and digits, or single symbols."""
    found: list[Span] = []
    place = 0
    while place < end:
        kind = _kind(text[place])
        begin = place
        place += 1
        if kind == "space":
            continue
        while kind == "letter" and place < len(text) and _goes_on(text, place):
            place += 1
        found.append((begin, place))
    return found


def _goes_on(text: str, place: int) -> bool:
    if _kind(text[place]) == "letter":
        return True
    return text[place] in _JOINERS and place + 1 < len(text) and _kind(text[place + 1]) == "letter"


def _kind(character: str) -> str:
    if any(low <= ord(character) <= high for low, high in _WITHOUT_SPACES):
        return "single"
    # Letters, digits, marks on them; separators and control characters; everything else is a symbol of its own.
    category = unicodedata.category(character)
    if category[0] in "LNM" or character == "_":
        return "letter"
    return "space" if category[0] in "ZC" else "single"


def _merged(spans: list[Span]) -> list[Span]:
    """Returns the unions of spans that overlap, ascending."""
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged
