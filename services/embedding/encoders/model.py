"""The nouns of encoding: an encoder's facts, a tokenized text, why a model cannot be used."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

POOLING = "mean"
"""How token vectors become one: mean of the last layer over the real tokens."""

_VERSION_LENGTH = 12
"""Hex digits of the version of a model that was not published as an artifact."""


def version_of(identity: str) -> str:
    """Returns the version of a model that was not published: a hash of what says all that decides its vectors."""
    return hashlib.sha256(identity.encode()).hexdigest()[:_VERSION_LENGTH]


class ModelUnusable(Exception):
    """The model cannot be served. The message says why and is safe to show to a caller: no paths."""


@dataclass(frozen=True)
class ModelFacts:
    """What callers may know of a loaded model."""

    version: str
    """Changes whenever the same text could give another vector."""
    family: str
    """"bert", "roberta", "gpt2", …; the kind again where there are no families."""
    dim: int
    """Length of the vectors."""
    max_tokens: int
    """Tokens read of a text at most, special tokens included."""
    parameters: int
    """Trained numbers in the encoder."""
    weights_sha256: str
    """SHA-256 of the weights, hex."""
    engine: str
    """What computes, with its version."""
    kind: str = "bert"
    """What kind of encoder it is: "bert", "gpt", "bow", "tfidf", "word2vec"."""
    pooling: str = POOLING
    """How token vectors become one."""
    normalized: bool = True
    """Vectors have length 1."""
    packs: bool = False
    """Texts of any length share a batch at no cost; else all cost as much as the longest of the batch."""


@dataclass(frozen=True, slots=True)
class TokenizedText:
    """One text as the model reads it."""

    ids: tuple[int, ...]
    """Token ids, special tokens included; 1 to max_tokens of them."""
    content: int
    """How many of them come from the text (not special)."""
    unknown: int
    """How many of those the model does not know."""
    truncated: bool
    """Tokens past the limit were cut."""

    @property
    def unknown_share(self) -> float:
        """Unknown tokens as a share of the text's own tokens, 0 to 1."""
        return self.unknown / self.content if self.content else 0.0
