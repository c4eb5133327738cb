"""A bounded, thread-safe cache of vectors, least recently used out first."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class TextVector:
    """A text's vector and what its tokenization showed."""

    vector: NDArray[np.float32]
    """Shape (dim,), float32, length 1, read-only."""
    tokens: int
    """Tokens read, special tokens included."""
    truncated: bool
    """Tokens past the limit were cut."""
    unknown_share: float
    """Unknown tokens as a share of the text's own, 0 to 1."""


def text_key(version: str, text: str) -> bytes:
    """Returns the key of a text under a model version: 32 bytes, SHA-256, so that long texts are not kept."""
    return hashlib.sha256(f"{version}\0{text}".encode()).digest()


class VectorCache:
    """Keeps at most `capacity` vectors; 0 keeps none."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._entries: OrderedDict[bytes, TextVector] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, TextVector]:
        """Returns the entries that are there, and marks them as just used."""
        found = {}
        with self._lock:
            for key in keys:
                entry = self._entries.get(key)
                if entry is not None:
                    self._entries.move_to_end(key)
                    found[key] = entry
        return found

    def put_many(self, entries: Mapping[bytes, TextVector]) -> None:
        """Adds entries; the least recently used ones go when the capacity is reached."""
        if not self._capacity:
            return
        with self._lock:
            for key, entry in entries.items():
                self._entries[key] = entry
                self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)
