"""Attributor port for encoders without a network: a text is a sum of terms, so the parts are exact."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from services.embedding.attribution.model import ReadText, TokenShares
from services.embedding.encoders.terms import TERM, UNKNOWN, normalised, terms_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from services.embedding.attribution.words import Span
    from services.embedding.encoders.terms import TermModel

_CHUNK = re.compile(r"\S+")
_NOTHING = 1e-12


class TermAttributor:
    """Each occurrence of a term adds its part of the sum; an unknown term adds nothing.

    A text of unknown terms only has the average text's vector: all its terms have equal parts of it.
    """

    method = "exact"
    layers = 0
    heads = 0

    def __init__(self, model: TermModel) -> None:
        self._model = model

    def read(self, text: str) -> ReadText:
        """See the port."""
        (tokenized,) = self._model.tokenize([text])
        if not tokenized.content:
            return ReadText(tokenized.ids, ("",), (None,), truncated=False)
        spans, terms = _spans(text), terms_of(text)
        count = len(tokenized.ids)
        return ReadText(tokenized.ids, tuple(terms[:count]), tuple(spans[:count]), tokenized.truncated)

    def vector(self, text: ReadText) -> NDArray[np.float32]:
        """See the port."""
        vector: NDArray[np.float32] = self._model.encode([text.ids])[0]
        return vector

    def shares(self, text: ReadText, direction: NDArray[np.float32], go_on: Callable[[], None]) -> TokenShares:
        """See the port."""
        go_on()
        model = self._model
        counts = Counter(text.ids)
        total = np.zeros(model.dim)
        parts = dict.fromkeys(counts, 0.0)
        for token, count in counts.items():
            if token != UNKNOWN:
                amount = (1.0 + np.log(count)) if model.log_counts else float(count)
                added = amount * float(model.weights[token - 1]) * model.table[token - 1].astype(np.float64)
                total += added
                parts[token] = float(added @ direction) / count
        length = float(np.linalg.norm(total))
        if length < _NOTHING:
            even = float(self.vector(text) @ direction) / len(text.ids)
            return TokenShares(np.full(len(text.ids), even), 1)
        return TokenShares(np.array([parts[token] / length for token in text.ids]), 1)

    def attention(self, text: ReadText) -> NDArray[np.float32]:
        """See the port."""
        return np.zeros((0, 0, len(text.ids), len(text.ids)), np.float32)


def _spans(text: str) -> list[Span]:
    """Returns the place of each of the text's terms; that of its run of characters where normalising moved them."""
    spans: list[Span] = []
    for chunk in _CHUNK.finditer(text):
        plain = normalised(chunk.group())
        same = len(plain) == len(chunk.group())
        for term in TERM.finditer(plain):
            start, end = (term.start(), term.end()) if same else (0, len(chunk.group()))
            spans.append((chunk.start() + start, chunk.start() + end))
    terms = terms_of(text)
    return spans if len(spans) == len(terms) else [(0, len(text))] * len(terms)
