"""A small real embedder in numpy: words hashed to random directions. For tests that need texts, not a transformer."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from shared.errors import DependencyUnavailable, ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class HashedTexts:
    """Vectors, float32 (texts, dim), NaN for texts without words, and the version that made them."""

    vectors: NDArray[np.float32]
    version: str


class HashingEmbedder:
    """Mean of the words' directions, at length 1: texts that share words are near each other.

    `is_down` makes it fail as an embedding service that does not answer; `texts` counts what was embedded.
    """

    def __init__(self, dim: int = 32, version: str = "hashing-1") -> None:
        self.dim = dim
        self.version = version
        self.is_down = False
        self.texts = 0

    async def embed(self, texts: Sequence[str], *, urgent: bool, version: str = "") -> HashedTexts:
        """Returns one vector per text.

        Raises:
            DependencyUnavailable: `is_down`.
            ModelMismatch: another version is asked for.

        """
        del urgent
        if self.is_down:
            raise DependencyUnavailable("embedding", "not reachable")
        if version not in {"", self.version}:
            raise ModelMismatch(f"the embedding service does not have the version {version}: train anew")
        self.texts += len(texts)
        vectors = [self._vector(text) for text in texts]
        return HashedTexts(np.array(vectors, np.float32).reshape(len(texts), self.dim), self.version)

    async def versions(self) -> tuple[()]:
        """Returns none: there is only this one, which learns nothing."""
        return ()

    def _vector(self, text: str) -> NDArray[np.float64]:
        words = re.findall(r"\w+", text.lower())
        if not words:
            return np.full(self.dim, np.nan)
        total = np.sum([self._direction(word) for word in words], axis=0)
        unit: NDArray[np.float64] = total / np.linalg.norm(total)
        return unit

    def _direction(self, word: str) -> NDArray[np.float64]:
        return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(self.dim)
