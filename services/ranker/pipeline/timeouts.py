"""How long to wait for a neighbour: never so long that no time is left for a fall-back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

MIN_TIMEOUT_S = 0.001


@dataclass(frozen=True)
class Timeouts:
    """Longest waits, seconds; `share` of what is left of the call caps each. `left()` is None without a deadline."""

    history_s: float
    embedding_s: float
    candidates_s: float
    evaluator_s: float
    share: float
    left: Callable[[], float | None]

    def history(self) -> float:
        """Returns the wait for ingestion."""
        return self._capped(self.history_s)

    def embedding(self) -> float:
        """Returns the wait for embedding."""
        return self._capped(self.embedding_s)

    def candidates(self) -> float:
        """Returns the wait for candidates."""
        return self._capped(self.candidates_s)

    def evaluator(self) -> float:
        """Returns the wait for the evaluator."""
        return self._capped(self.evaluator_s)

    def _capped(self, own_s: float) -> float:
        left = self.left()
        return own_s if left is None else max(min(own_s, left * self.share), MIN_TIMEOUT_S)
