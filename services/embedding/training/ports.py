"""What a training needs from the outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from services.embedding.training.batches import Batch
    from services.embedding.training.corpus import Corpus
    from services.embedding.training.masking import MaskedBatch
    from services.embedding.training.parameters import Method
    from shared.data.log import LogSnapshot

State = dict[str, Any]
"""Everything that a training goes on from: arrays by name."""


class EventLog(Protocol):
    """The event log and the catalogue."""

    async def read(self, up_to: int | None, on_records: Callable[[int], None]) -> LogSnapshot:
        """Returns it up to a sequence number, None for all of it; tells `on_records` how many records each stretch had.

        Raises:
            DependencyUnavailable: ingestion does not answer.

        """


class Trainee(Protocol):
    """An encoder that learns. Rows are those of the corpus whose texts it was made with."""

    trained_parameters: int
    """Numbers that the training may change."""

    def step(self, batch: Batch, rate: float) -> dict[str, float]:
        """Takes one step at a learning rate; returns the losses by name, before the step."""

    def encode(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Returns the unit vectors of these items as the model is now, float32 (rows, dim); without dropout."""

    def refresh(self, rows: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Takes vectors that `encode` just made into what histories are averaged from."""

    def weights(self) -> dict[str, NDArray[Any]]:
        """Returns what is trained."""

    def use(self, weights: Mapping[str, NDArray[Any]]) -> None:
        """Takes weights of `weights` back."""

    def state(self) -> State:
        """Returns everything that the next step depends on: weights, optimizer, random state, remembered vectors."""

    def restore(self, state: State) -> None:
        """Goes on from what `state` returned.

        Raises:
            ValueError: it is of another model.

        """

    def export(self, folder: Path) -> None:
        """Writes an artifact's files into `folder` (`encoders/artifact.py`)."""


class LanguageTrainee(Protocol):
    """An encoder that learns its domain's words by guessing hidden ones."""

    def step(self, batch: MaskedBatch, rate: float) -> dict[str, float]:
        """Takes one step; returns the loss by name, before the step."""

    def state(self) -> State:
        """As that of `Trainee`."""

    def restore(self, state: State) -> None:
        """As that of `Trainee`."""


class Checkpoints(Protocol):
    """Where a training's state survives it."""

    def save(self, numbers: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
        """Replaces what is kept, in one step: a crash leaves the old state or the new one."""

    def load(self) -> tuple[dict[str, Any], dict[str, NDArray[Any]]] | None:
        """Returns what `save` last wrote; None without any that can be read."""


class Board(Protocol):
    """Curves for people."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Notes values at a step."""


class Workshop(Protocol):
    """A base encoder opened for training. What is trained of it changes it: one training per workshop."""

    kind: str
    """Kind of the encoder, as in encoder.json."""
    version: str
    """Version of the base, as the server names it."""
    special: tuple[int, ...]
    """Ids of its special tokens."""
    mask_id: int | None
    """Id of the token that stands for a hidden one; None when it has none."""
    vocabulary: int
    """Number of token ids."""

    def tokenize(self, texts: Sequence[str]) -> list[tuple[int, ...]]:
        """Returns each text's token ids, special ones included, cut where training cuts."""

    def vectors(self, tokens: Sequence[tuple[int, ...]]) -> NDArray[np.float32]:
        """Returns unit vectors as the encoder is now, float32 (texts, dim)."""

    def language_trainee(self) -> LanguageTrainee:
        """Returns what learns the domain's words."""

    def trainee(self, method: Method, tokens: Sequence[tuple[int, ...]], before: NDArray[np.float32]) -> Trainee:
        """Returns what learns from behaviour.

        Args:
            method: how much of the encoder learns.
            tokens: of the corpus's texts.
            before: their vectors by the untouched base, (texts, dim): similarities are held near theirs.

        """


class Trainer(Protocol):
    """Makes one encoder from a corpus."""

    @property
    def kind(self) -> str:
        """Kind of the encoder, as in encoder.json."""

    @property
    def method(self) -> str:
        """Label `method` of the artifact."""

    def train(self, corpus: Corpus, folder: Path) -> Trained:
        """Writes an artifact's files into `folder`; returns what is to be known of it.

        Raises:
            NothingToLearn: the corpus does not suffice.
            ModelUnusable: the base cannot be trained.

        """


@dataclass(frozen=True)
class Trained:
    """What a trainer has to say of what it made."""

    better: bool
    """Whether the validation fold says, with a margin, that it beats the base (`verdict.py`); False unjudged."""
    metrics: dict[str, float]
    config: dict[str, Any]
    lineage: dict[str, str]
