"""What the candidates service needs of the outside, and what its parts promise each other.

Items are rows of one version's item table everywhere inside; ids exist at the edges only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.profile import Profile
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.sources.hyperparameters import AlsParameters
    from services.candidates.training.likes import Likes
    from shared.data.nouns import HistoryEvent, Item


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

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns at most `n` of the allowed rows: its best, the best first, the lower row first where equal."""

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns its score of each row, float32 (len(rows),); NaN where it cannot say."""


@runtime_checkable
class LiveSource(Protocol):
    """A source that learns from the log between two trainings. One writer (the follower), readers in other threads."""

    def grow(self, size: int) -> None:
        """Makes room for `size` rows of the table."""

    def like(self, user_id: str, row: int, at: float) -> None:
        """A user likes an item that the user did not like before; `at` in unix seconds."""

    def take_back(self, user_id: str, row: int, at: float) -> None:
        """A like is taken back; `at` is when it was given, unix seconds."""

    def forget(self, user_id: str) -> None:
        """Forgets all that is kept under this user's id; the user's likes were taken back before."""

    def reset(self) -> None:
        """Forgets everything: the log was replaced."""


@runtime_checkable
class HearsDislikes(Protocol):
    """A live source that also keeps items which users only tried. One writer, readers in other threads."""

    def dislike(self, user_id: str, row: int) -> None:
        """A user dislikes an item that the user is not known to like: a try of it does not count any more."""


@runtime_checkable
class ReadsTexts(Protocol):
    """A source with a space of its own that new items are placed in by what is written. One writer."""

    def place(self, rows: I64, items: Sequence[Item], texts: ItemTexts) -> None:
        """Takes in new and changed items; one of which nothing is known leaves the space."""

    def remove(self, rows: I64) -> None:
        """Takes items out of the lists."""


@runtime_checkable
class KnowsUsers(Protocol):
    """A source that knows users by their ids."""

    def similar_users(self, profile: Profile, n: int) -> tuple[list[str], F32]:
        """Returns ids and similarities of at most `n` users, the nearest first, `profile.user_id` left out."""


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

    @property
    def pending(self) -> int:
        """Vectors written and taken out that are not part of what was built."""

    @property
    def rebuilds(self) -> int:
        """How often it was built anew since it was opened."""

    @property
    def recall_at_100(self) -> float:
        """Share of the true best 100 that a search finds, as measured when it was built; 1 when exact."""

    @property
    def parameters(self) -> str:
        """How it was built and is searched, for people; empty when there is nothing to say."""

    def needs_rebuild(self) -> bool:
        """Returns whether a rebuild is worth its time."""

    def rebuild(self) -> None:
        """Builds anew with all that was written; searches and writes go on. Blocks: for a thread of its own."""

    def count_from(self, row: int) -> int:
        """Returns the number of vectors in this row and those after it."""

    def put(self, rows: I64, vectors: F32) -> None:
        """Adds or replaces the vectors, (len(rows), dim), of these rows; searches see them at once."""

    def remove(self, rows: I64) -> None:
        """Takes the vectors of these rows out."""

    def search(self, query: F32, n: int, allowed: Allowed) -> tuple[I64, F32]:
        """Returns rows and inner products of the `n` best vectors among the allowed rows.

        Fewer than `n` only when fewer are allowed. Best first; the lower row first where scores are equal.

        Raises:
            ValueError: an inner product is not finite, so that there is no order.

        """

    def vectors(self, rows: I64) -> F32:
        """Returns the vectors of these rows, (len(rows), dim); NaN where there is none."""


IndexFactory = Callable[[int], VectorIndex]
"""Makes an empty index of vectors of this length."""


class IndexBuilder(Protocol):
    """Builds indexes that are too large to be filled whenever a version is loaded."""

    def is_built(self, count: int, dim: int) -> bool:
        """Returns whether an index of so many vectors of this length is built at training."""

    def build(self, vectors: F32) -> VectorIndex:
        """Builds and measures an index of vectors, float32 (rows, dim), NaN rows for none."""

    def save(self, index: VectorIndex, folder: Path, embedding: str) -> None:
        """Writes an index that was just built into a new folder, and which embedding version its vectors are of."""

    def open(self, folder: Path, embedding: str) -> VectorIndex:
        """Maps what `save` wrote.

        Raises:
            ValueError: the files are damaged, or of another embedding version.
            OSError, KeyError: it is no index.

        """


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors, float32 (texts, dim), NaN in the rows of texts without one, and the version that made them."""

    vectors: F32
    version: str


@dataclass(frozen=True, eq=False)
class FittedFactors:
    """Item factors, float32 (items, factors), zero for items that nobody likes; and how users are folded in to them.

    The confidences in a user's least squares solution are `alpha` times the BM25 weights, the L2 penalty is as given.
    """

    factors: F32
    regularization: float
    alpha: float


class JudgedLog(Protocol):
    """A log whose events were judged where they are kept."""

    def events_by_item(self) -> dict[str, int]:
        """Returns the number of events of each item that has one."""

    def likes(self, rows: Mapping[str, int]) -> Likes:
        """Returns the likes of items, given the row of each item id; as `training/likes.likes_of`.

        Raises:
            DependencyUnavailable: the engine fails.

        """


class AlsEngine(Protocol):
    """What fits the matrix factorisation where it is not fitted in process."""

    @property
    def name(self) -> str:
        """Its name in manifests: "spark"."""

    def fit(self, likes: Likes, parameters: AlsParameters, seed: int, threads: int) -> FittedFactors:
        """Fits likes with BM25 weights; the same arguments give the same factors. Blocks, for minutes.

        Args:
            likes: what users like.
            parameters: hyperparameters; an engine with penalties of its own takes the others.
            seed: of the first factors.
            threads: to use at most, where that is not the engine's own to decide.

        Raises:
            DependencyUnavailable: the engine fails.

        """


class TextEmbedder(Protocol):
    """Texts to vectors of length 1."""

    async def embed(self, texts: Sequence[str], *, urgent: bool, version: str = "") -> Embedded:
        """Returns one vector per text, in order; a text that cannot be embedded (an empty one) has NaN.

        `version` says which version of the language model shall make them; empty means the current one.

        Raises:
            DependencyUnavailable: the embedding service does not answer.
            ModelNotReady: it has no model yet.
            ModelMismatch: it does not have that version.

        """


@dataclass(frozen=True)
class EncoderNote:
    """A version of the language model that can be asked for; `labels` and `lineage` are those it was published with."""

    version: str
    labels: Mapping[str, str]
    lineage: Mapping[str, str]
    is_current: bool


class VersionedEmbedder(TextEmbedder, Protocol):
    """One that tells its versions."""

    async def versions(self) -> Sequence[EncoderNote]:
        """Returns the versions that can be asked for, newest first; none where there is only one.

        Raises:
            DependencyUnavailable: the embedding service does not answer.
            ModelNotReady: it has no model yet.

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
