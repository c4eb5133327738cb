"""What the candidates service needs of the outside, and what its parts promise each other.

Items are rows of one version's item table everywhere inside; ids exist at the edges only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.profile import Profile
    from shared.data.nouns import HistoryEvent


@dataclass(frozen=True, eq=False)
class Proposal:
    """A source's own list, best first: int64 rows and float32 scores of the same shape, or why it is empty."""

    rows: I64
    scores: F32
    reason: str = ""

    @classmethod
    def nothing(cls, reason: str) -> Proposal:
        """Returns an empty list and why it is empty."""
        return cls(np.zeros(0, np.int64), np.zeros(0, np.float32), reason)


class Source(Protocol):
    """One reason to recommend an item. Pure between live updates: the same profile gives the same answer.

    Called from several threads at once.
    """

    @property
    def name(self) -> str:
        """Its name in requests and in evidence."""

    @property
    def description(self) -> str:
        """What it is, in a line."""

    @property
    def proposes(self) -> bool:
        """False for a source that proposes only when it is asked for by name, and else scores what others propose."""

    @property
    def n_items(self) -> int:
        """Items it can score."""

    def propose(self, profile: Profile, n: int, allowed: Mask) -> Proposal:
        """Returns at most `n` of the rows where `allowed`, bool (table rows,), is True: its best, the best first."""

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns its score of each row, float32 (len(rows),); NaN where it cannot say."""


class VectorIndex(Protocol):
    """Nearest neighbours by inner product over vectors kept by row. One writer, any number of searching threads."""

    @property
    def type(self) -> str:
        """Kind of index: "flat"."""

    @property
    def dim(self) -> int:
        """Length of the vectors."""

    @property
    def count(self) -> int:
        """Vectors in the index."""

    def count_from(self, row: int) -> int:
        """Returns the number of vectors in this row and those after it."""

    def put(self, rows: I64, vectors: F32) -> None:
        """Adds or replaces the vectors, (len(rows), dim), of these rows; searches see them at once."""

    def remove(self, rows: I64) -> None:
        """Takes the vectors of these rows out."""

    def search(self, query: F32, n: int, allowed: Mask) -> tuple[I64, F32]:
        """Returns rows and inner products of the `n` best vectors among the rows where `allowed` is True.

        Fewer than `n` only when fewer are allowed. Best first; the lower row first where scores are equal.

        Raises:
            ValueError: an inner product is not finite, so that there is no order.

        """

    def vectors(self, rows: I64) -> F32:
        """Returns the vectors of these rows, (len(rows), dim); NaN where there is none."""


IndexFactory = Callable[[int], VectorIndex]
"""Makes an empty index of vectors of this length."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors, float32 (texts, dim), NaN in the rows of texts without one, and the version that made them."""

    vectors: F32
    version: str


class TextEmbedder(Protocol):
    """Texts to vectors of length 1."""

    async def embed(self, texts: Sequence[str], *, urgent: bool) -> Embedded:
        """Returns one vector per text, in order; a text that cannot be embedded (an empty one) has NaN.

        Raises:
            DependencyUnavailable: the embedding service does not answer.

        """


@dataclass(frozen=True)
class UserHistory:
    """What a user did: the newest events, oldest first, as the log stood at `sequence`."""

    events: tuple[HistoryEvent, ...]
    sequence: int


class UserHistories(Protocol):
    """Stored histories."""

    async def read(self, user_id: str) -> UserHistory:
        """Returns a user's history; empty for an unknown user.

        Raises:
            DependencyUnavailable: the store does not answer.

        """
