"""One list, item by item: relevance, and terms that depend on what is in the list already."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.pipeline.select.caps import Caps


class Term(Protocol):
    """What an item adds to the worth of the list so far; `take` tells what was taken."""

    def gains(self) -> F32:
        """Returns what each candidate would add: float32 (n,)."""

    def take(self, place: int) -> None:
        """Takes a candidate into the list."""


def scaled(scores: F32, free: int | None = None) -> F32:
    """Returns scores from 0 to 1: relevance; zeros where all are equal.

    Only the first `free` make the range: those after them, which are pinned, may lie outside of it.
    """
    own = scores[:free]
    spread = float(own.max() - own.min()) if len(own) else 0.0
    return (scores - own.min()) / np.float32(spread) if spread else np.zeros_like(scores)


def greedy(relevance: F32, weight: float, terms: Sequence[tuple[float, Term]], count: int, caps: Caps) -> list[int]:
    """Returns at most `count` places; each next one has the largest weight * relevance + sum of weighted gains.

    Candidates are given best first: of equal ones, the better is taken. What the caps leave out is passed over.
    """
    chosen: list[int] = []
    left = np.ones(len(relevance), dtype=np.bool_)
    base = np.asarray(weight * relevance, dtype=np.float32)
    for _ in range(min(count, len(relevance))):
        value = base
        for strength, term in terms:
            value = value + np.float32(strength) * term.gains()
        value = np.where(left & caps.open, value, -np.inf)
        best = int(np.argmax(value))
        if value[best] == -np.inf:
            break
        chosen.append(best)
        left[best] = False
        caps.take(best)
        for _strength, term in terms:
            term.take(best)
    return chosen
