"""Ids of many users, on disk until they are looked up, and erasable."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from services.candidates.arrays import I32, I64

_FILES = ("bytes", "ends", "hashes", "rows")


class UserIds:
    """Rows of ids and ids of rows. A dictionary of a million ids would take 100 MB; this takes what is touched.

    One writer (`erase`, `clear`), any number of readers in other threads.

    Args:
        utf8: uint8 (bytes,), all ids one after the other.
        ends: int64 (users + 1,), the id of row r is `utf8[ends[r]:ends[r + 1]]`.
        hashes: uint64 (users,), ascending.
        rows: int32 (users,), the row of each hash.

    """

    def __init__(self, utf8: NDArray[np.uint8], ends: I64, hashes: NDArray[np.uint64], rows: I32) -> None:
        self._bytes = utf8
        self._ends = ends
        self._hashes = hashes
        self._rows = rows
        self._erased: set[int] = set()

    @classmethod
    def of(cls, ids: Sequence[str]) -> UserIds:
        """Returns the ids of the rows from 0 on."""
        encoded = [one.encode() for one in ids]
        hashes = np.fromiter(map(_hash, encoded), np.uint64, len(encoded))
        rows = np.argsort(hashes, kind="stable").astype(np.int32)
        ends = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        return cls(np.frombuffer(b"".join(encoded), np.uint8).copy(), ends, hashes[rows], rows)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def row_of(self, user_id: str) -> int | None:
        """Returns the row of an id; None when there is none."""
        hashes, rows = self._hashes, self._rows
        wanted = _hash(user_id.encode())
        first, last = (int(np.searchsorted(hashes, np.uint64(wanted), side)) for side in ("left", "right"))
        return next((row for row in rows[first:last].tolist() if self.id_of(row) == user_id), None)

    def id_of(self, row: int) -> str | None:
        """Returns the id of a row; None when it was erased, or there is no such row."""
        if row >= len(self) or row in self._erased:
            return None
        return self._bytes[self._ends[row] : self._ends[row + 1]].tobytes().decode()

    def erase(self, row: int) -> None:
        """Takes an id out of memory, its hash too. The files stay as they are."""
        user_id = self.id_of(row)
        if user_id is None:
            return
        self._erased.add(row)
        self._bytes[self._ends[row] : self._ends[row + 1]] = 0
        place = int(np.searchsorted(self._hashes, np.uint64(_hash(user_id.encode()))))
        while self._rows[place] != row:
            place += 1
        # The hash of its neighbour: the array stays ascending.
        self._hashes[place] = self._hashes[place - 1] if place else 0

    def clear(self) -> None:
        """Takes all ids out of memory."""
        self._hashes, self._rows = np.zeros(0, np.uint64), np.zeros(0, np.int32)
        self._ends, self._bytes = np.zeros(1, np.int64), np.zeros(0, np.uint8)
        self._erased = set()

    def save(self, folder: Path) -> None:
        """Writes the ids into a folder, which is made when it is missing."""
        folder.mkdir(parents=True, exist_ok=True)
        arrays: tuple[NDArray[Any], ...] = (self._bytes, self._ends, self._hashes, self._rows)
        for name, array in zip(_FILES, arrays, strict=True):
            np.save(folder / f"{name}.npy", array)

    @classmethod
    def load(cls, folder: Path) -> UserIds:
        """Reads what `save` wrote; pages are read when they are needed, and copied when they are erased.

        Raises:
            OSError, ValueError: the folder does not hold ids.

        """
        return cls(*(np.asarray(np.load(folder / f"{name}.npy", mmap_mode="c")) for name in _FILES))


def _hash(encoded: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(encoded, digest_size=8).digest(), "little")
