"""The nouns of attribution: what is asked, what an encoder says of one text, what is answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from services.embedding.attribution.words import Span
    from shared.telemetry.stages import StageTime


@dataclass(frozen=True)
class WeightedText:
    """A text of a profile, and its weight, above 0."""

    text: str
    weight: float = 1.0


@dataclass(frozen=True)
class Question:
    """A text, what it is compared with (at least one text), and which layers' attention is wanted.

    `layers`: None for no attention, empty for all layers. `single`: the contract's `other` was sent.
    """

    text: str
    others: tuple[WeightedText, ...]
    single: bool = True
    layers: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ReadText:
    """A text as an encoder reads it, one entry per token."""

    ids: tuple[int, ...]
    """Token ids, special tokens included."""
    pieces: tuple[str, ...]
    """The tokens as the model names them."""
    spans: tuple[Span | None, ...]
    """Where each token stands in the text; None for special tokens."""
    truncated: bool
    """Tokens past the model's limit were cut."""

    @property
    def has_content(self) -> bool:
        """Whether there is anything to read but special tokens."""
        return any(span is not None for span in self.spans)


@dataclass(frozen=True)
class TokenShares:
    """What each token adds to the dot product of a text's vector with a direction."""

    values: NDArray[np.float64]
    """Shape (tokens,); 0 for special tokens."""
    evaluations: int
    """Points at which the model was evaluated."""


@dataclass(frozen=True)
class WordShare:
    """A word, where it begins, and what it adds to the similarity."""

    word: str
    start: int
    contribution: float


@dataclass(frozen=True)
class TextShare:
    """The words of one text, and what the text adds to the similarity."""

    words: tuple[WordShare, ...]
    contribution: float
    similarity: float
    tokens: int
    truncated: bool


@dataclass(frozen=True)
class HeadAttention:
    """Attention weights of one head, float32 (tokens, tokens); rows sum to 1."""

    layer: int
    head: int
    weights: NDArray[np.float32]


@dataclass(frozen=True)
class Attribution:
    """The answer to a question."""

    similarity: float
    text: TextShare
    others: tuple[TextShare, ...]
    residual: float
    other_residual: float
    attention: tuple[HeadAttention, ...]
    pieces: tuple[str, ...]
    """Tokens the attention is over; empty when none was asked for."""
    method: str
    evaluations: int
    version: str
    stages: list[StageTime]
