"""The port of fusion functions: s(u, i) = f(features of language model, CF and context)."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.ranker.items.arrays import F32
    from shared.telemetry.progress import JobProgress


LIKE = "like"
"""The head of the labels themselves."""


def no_vectors(rows: int = 0, dim: int = 0) -> F32:
    """Returns float32 (rows, dim) zeros: no language model vectors."""
    return np.zeros((rows, dim), dtype=np.float32)


@dataclass(frozen=True)
class RankingInput:
    """One user's candidates, as every fusion function gets them in training and serving.

    `features`: float32 (n, features), NaN where missing. `items`: float32 (n, dim), the candidates' centred language
    model vectors, zeros where there is none. `history`: float32 (m, dim), those of the newest judged items, oldest
    first. `weights`: float32 (m,), what each of them counts: above 0 liked, below 0 disliked, less the older.
    Without a language model dim and m are 0.
    """

    features: F32
    items: F32
    history: F32
    weights: F32

    @classmethod
    def plain(cls, features: F32) -> RankingInput:
        """Returns features alone, without vectors."""
        return cls(features, no_vectors(len(features)), no_vectors(), np.zeros(0, dtype=np.float32))

    def __len__(self) -> int:
        return len(self.features)

    def take(self, places: Sequence[int] | NDArray[np.intp] | slice) -> RankingInput:
        """Returns the candidates at these places."""
        return replace(self, features=self.features[places], items=self.items[places])


@dataclass(frozen=True)
class ListVectors:
    """The language model vectors of lists, each kept once.

    `bank`: float32 (vectors, dim), centred, of length 1. `items`: int32 (rows,), the candidates' places in the bank.
    `history`: int32 (lists, m), those of the judged items, oldest first. -1: none. `weights`: float32 (lists, m), as in
    `RankingInput`, 0 where there is none.
    """

    bank: F32
    items: NDArray[np.int32]
    history: NDArray[np.int32]
    weights: F32

    @classmethod
    def none(cls, rows: int, lists: int) -> ListVectors:
        """Returns lists without vectors."""
        nothing = np.zeros((lists, 0), dtype=np.int32)
        return cls(no_vectors(), np.full(rows, -1, dtype=np.int32), nothing, np.zeros((lists, 0), dtype=np.float32))


@dataclass(frozen=True)
class RankingLists:
    """Lists to learn an order from.

    `features`: float32 (rows, features), NaN where missing. `labels`: float32 (rows,), 1 for what the user liked
    later, else 0. `sizes`: int64 (lists,), rows of each list, in order. `weights`: float32 (lists,).
    `outcomes[head]`: float32 (rows,), what is known besides of what the user did with the row later, NaN where nothing
    is: heads are "click", "purchase" (0 or 1) and "rating" (the user's mean taken off), and "like" where the labels of
    some lists are not to be learned row by row.
    """

    features: F32
    labels: F32
    sizes: NDArray[np.int64]
    weights: F32
    vectors: ListVectors = field(default_factory=lambda: ListVectors.none(0, 0))
    outcomes: dict[str, F32] = field(default_factory=dict)

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each list: int64 (lists,)."""
        return np.concatenate([[0], np.cumsum(self.sizes)[:-1]]).astype(np.int64)

    @property
    def list_of_row(self) -> NDArray[np.int64]:
        """The list of each row: int64 (rows,)."""
        return np.repeat(np.arange(len(self.sizes)), self.sizes)

    def inputs(self) -> Iterator[RankingInput]:
        """Yields each list as it would be asked for."""
        vectors = self.vectors
        for turn, (start, size) in enumerate(zip(self.starts, self.sizes, strict=True)):
            rows = slice(int(start), int(start + size))
            plain = RankingInput.plain(self.features[rows])
            if not len(vectors.bank):
                yield plain
                continue
            places = vectors.items[rows]
            items = np.where((places >= 0)[:, None], vectors.bank[places], np.float32(0))
            known = vectors.history[turn] >= 0
            yield replace(
                plain,
                items=items.astype(np.float32, copy=False),
                history=vectors.bank[vectors.history[turn][known]],
                weights=vectors.weights[turn][known],
            )


class FusionFunction(Protocol):
    """A learned order over candidates. `predict` and `contributions` may be called from several threads at once."""

    name: ClassVar[str]
    """Its variant name."""
    description: ClassVar[str]
    """What it is, in a line."""

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns from `train`; `validation` may stop or choose. `names` are the features' names, by column."""

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns again, from all lists, with what `fit` has chosen."""

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Goes on learning, from new lists alone, beginning with what has been learned: the incremental update."""

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores, higher is better: float32 (n,) for n candidates of `len(names)` features."""

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns the bias and what each feature adds: float32 (n, len(names)).

        bias + the sum of a row is the row's `predict`, within 1e-4 relative.
        """

    def save(self, folder: Path) -> None:
        """Writes everything that `load` needs into an existing folder."""

    @classmethod
    def load(cls, folder: Path) -> FusionFunction:
        """Returns what `save` wrote.

        Raises:
            CorruptData: the files cannot be read.

        """


@runtime_checkable
class Attending(Protocol):
    """A fusion function that says which judged items it looked at."""

    def attention(self, inputs: RankingInput) -> F32:
        """Returns how much of its attention each candidate gave to each judged item: float32 (n, m), rows of sum 1.

        m is 0 without vectors.
        """


class _Silent:
    def update(self, stage: str, done: int, total: int) -> None:
        """Tells nobody."""


@dataclass(frozen=True)
class FitContext:
    """What a training run gives the fusion functions that want it.

    `folder`: where to keep what lets a killed training go on; None: nowhere. `tensorboard`: where to write what
    TensorBoard shows; None: nowhere. `threads`: of the libraries that have some.
    """

    progress: JobProgress = field(default_factory=_Silent)
    folder: Path | None = None
    tensorboard: Path | None = None
    threads: int = 1
