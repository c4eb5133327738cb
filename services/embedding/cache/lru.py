"""A bounded, thread-safe cache of vectors, least recently used out first; a file may stand behind it."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.telemetry import metrics

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


class VectorStore(Protocol):
    """Keeps vectors over restarts. Safe for many threads; forgetting is allowed, a wrong vector is not."""

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, TextVector]:
        """Returns the entries that are there."""

    def put_many(self, entries: Mapping[bytes, TextVector]) -> None:
        """Takes entries to keep; does not block."""


class VectorCache:
    """Keeps at most `capacity` vectors in memory, 0 keeps none there; and all that `store` keeps, if there is one."""

    def __init__(self, capacity: int, store: VectorStore | None = None) -> None:
        self._capacity = capacity
        self._store = store
        self._entries: OrderedDict[bytes, TextVector] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def may_block(self) -> bool:
        """Whether a look-up may wait for a disk."""
        return self._store is not None

    def get_many(self, keys: Iterable[bytes]) -> dict[bytes, TextVector]:
        """Returns the entries that are there, and marks them as just used."""
        wanted = set(keys)
        found = {}
        with self._lock:
            for key in wanted:
                entry = self._entries.get(key)
                if entry is not None:
                    self._entries.move_to_end(key)
                    found[key] = entry
        _count("memory", len(found))
        if self._store is not None and len(found) < len(wanted):
            stored = self._store.get_many(wanted - found.keys())
            _count("file", len(stored))
            self._remember(stored)
            found |= stored
        _count("none", len(wanted) - len(found))
        return found

    def put_many(self, entries: Mapping[bytes, TextVector]) -> None:
        """Adds entries; the least recently used ones go when the capacity is reached."""
        self._remember(entries)
        if self._store is not None:
            self._store.put_many(entries)

    def _remember(self, entries: Mapping[bytes, TextVector]) -> None:
        if not self._capacity:
            return
        with self._lock:
            for key, entry in entries.items():
                self._entries[key] = entry
                self._entries.move_to_end(key)
            while len(self._entries) > self._capacity:
                self._entries.popitem(last=False)


def _count(place: str, number: int) -> None:
    if number:
        metrics.EMBED_CACHE.labels(place).inc(number)
