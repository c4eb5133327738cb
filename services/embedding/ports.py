"""What the embedding domain needs from the outside."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from services.embedding.attribution.model import ReadText, TokenShares
    from services.embedding.encoders.artifact import EncoderDescription
    from services.embedding.encoders.model import ModelFacts, TokenizedText


class Tokenizer(Protocol):
    """Turns texts into token ids."""

    def tokenize(self, texts: Sequence[str]) -> list[TokenizedText]:
        """Returns one entry per text, in order, each of 1 to `max_tokens` ids. Safe to call from many threads."""


class Encoder(Protocol):
    """Turns token ids into vectors."""

    facts: ModelFacts
    """What the model is."""

    def encode(self, rows: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Returns unit vectors, float32, shape (len(rows), dim), in the order of `rows`.

        Each row holds 1 to `max_tokens` token ids. A row's vector does not depend on the other rows (to 1e-5).
        """

    def warm(self, go_on: Callable[[], None]) -> None:
        """Compiles every prepared shape, so that no call waits for it.

        `go_on` is called before every shape, from any thread; what it raises ends the warming.

        Raises:
            ModelUnusable: the model computes no proper vectors.

        """


class Attributor(Protocol):
    """Says what the tokens of a text add to its similarities. Called from one thread at a time."""

    method: str
    """How: "integrated gradients", "exact"."""
    layers: int
    """Layers that have attention; 0 when the encoder has none."""
    heads: int
    """Heads of each layer."""

    def read(self, text: str) -> ReadText:
        """Returns the text as the encoder reads it: the ids of the port `Tokenizer`, with their places."""

    def vector(self, text: ReadText) -> NDArray[np.float32]:
        """Returns the text's unit vector, float32 (dim,): that of the port `Encoder`, to 1e-5."""

    def shares(self, text: ReadText, direction: NDArray[np.float32], go_on: Callable[[], None]) -> TokenShares:
        """Returns what each token adds to `vector(text) @ direction`: the shares sum to it, within 2 %.

        `go_on` is called between the steps; what it raises ends the work.
        """

    def attention(self, text: ReadText) -> NDArray[np.float32]:
        """Returns attention weights, float32 (layers, heads, tokens, tokens); rows sum to 1."""


@dataclass(frozen=True)
class LoadedModel:
    """A model that is ready to be warmed."""

    tokenizer: Tokenizer
    encoder: Encoder
    attributor: Attributor


class EncoderKind(Protocol):
    """Loads the artifacts of one kind of encoder."""

    def load(
        self, folder: Path, description: EncoderDescription, version: str, go_on: Callable[[], None]
    ) -> LoadedModel:
        """Returns the encoder of an artifact's folder, named `version`. Blocks; `go_on` is as with `ModelLoader`.

        Raises:
            ModelUnusable: missing files, damaged ones, shapes that do not fit; the message says which.

        """


class ModelLoader(Protocol):
    """Finds and loads the model of the settings."""

    def version(self) -> str:
        """Returns the version that `load` gives the model, without loading it. Blocks for tenths of a second.

        Raises:
            ModelUnusable: as `load`, as far as the files show it.

        """

    def load(self, go_on: Callable[[], None]) -> LoadedModel:
        """Returns the model. Takes seconds and blocks; `go_on` is called between the steps, and may raise to end it.

        Raises:
            ModelUnusable: missing, damaged or of an unsupported kind; the message says which.

        """
