"""The vector spaces of one version and what is kept of each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from services.candidates.arrays import F32, I64
    from services.candidates.ports import IndexBuilder, IndexFactory, VectorIndex

CF = "cf"
CONTENT = "content"
SPACES = (CF, CONTENT)
"""Spaces that callers can ask for by name; the first is the default."""


_FOLDERS = ("cf", "mapped", "similar_cf", "similar_content")


@dataclass(frozen=True, eq=False)
class SpaceVectors:
    """What a version's indexes hold; float32, one row per row of the table, NaN rows where there is no vector."""

    learned: F32
    """(rows, factors)."""
    mapped: F32
    """(rows, factors)."""
    content: F32
    """(rows, dim)."""

    @property
    def of_each(self) -> Iterator[F32]:
        """The vectors of each index, made one after the other: each is large."""
        cf = np.where(np.isnan(self.learned[:, :1]), self.mapped, self.learned)
        yield cf
        yield self.mapped
        yield unit(cf)
        yield unit(self.content)


class Spaces:
    """All vectors of one version.

    `cf` holds learned ALS factors, mapped vectors where there are none: searched with users. `mapped` holds the
    mapped vector of every item: what text alone says, also of items with factors. `similar` holds, by space, the
    vectors at length 1, so that inner products are cosines.
    """

    def __init__(
        self, cf: VectorIndex, mapped: VectorIndex, similar_cf: VectorIndex, similar_content: VectorIndex
    ) -> None:
        self.cf = cf
        self.mapped = mapped
        self.similar = {CF: similar_cf, CONTENT: similar_content}

    @classmethod
    def empty(cls, make_index: IndexFactory, cf_dim: int, content_dim: int) -> Spaces:
        """Returns spaces without vectors."""
        return cls(make_index(cf_dim), make_index(cf_dim), make_index(cf_dim), make_index(content_dim))

    @classmethod
    def built(cls, builder: IndexBuilder, vectors: SpaceVectors) -> Spaces:
        """Builds the index of each space; takes minutes for a million items."""
        return cls(*(builder.build(own) for own in vectors.of_each))

    @classmethod
    def open(cls, builder: IndexBuilder, folder: Path, embedding: str) -> Spaces:
        """Maps what `save` wrote.

        Raises:
            ValueError, OSError, KeyError: an index is missing, damaged, or of another embedding version.

        """
        return cls(*(builder.open(folder / name, embedding) for name in _FOLDERS))

    @staticmethod
    def are_saved(folder: Path) -> bool:
        """Returns whether `save` wrote to this folder: where one index is, `open` wants all."""
        return any((folder / name).is_dir() for name in _FOLDERS)

    def save(self, builder: IndexBuilder, folder: Path, embedding: str) -> None:
        """Writes the indexes, just built, into folders below `folder`."""
        for name, index in zip(_FOLDERS, self.every, strict=True):
            builder.save(index, folder / name, embedding)

    @property
    def by_name(self) -> dict[str, VectorIndex]:
        """All indexes: of the spaces that callers can ask for, and of those that sources search, by the source."""
        return {**self.similar, "als": self.cf, "aligned_text": self.mapped}

    @property
    def every(self) -> tuple[VectorIndex, ...]:
        """All indexes."""
        return (self.cf, self.mapped, *self.similar.values())

    def put(self, rows: I64, learned: F32, mapped: F32, content: F32) -> None:
        """Adds or replaces rows; each array is (len(rows), dim), NaN rows where there is no vector."""
        self.put_cf(rows, np.where(np.isnan(learned[:, :1]), mapped, learned))
        _replace(self.mapped, rows, mapped)
        _replace(self.similar[CONTENT], rows, unit(content))

    def put_cf(self, rows: I64, vectors: F32) -> None:
        """Adds or replaces vectors of the CF space, (len(rows), factors); NaN rows leave it."""
        _replace(self.cf, rows, vectors)
        _replace(self.similar[CF], rows, unit(vectors))

    def remove(self, rows: I64) -> None:
        """Takes rows out of every index."""
        for index in self.every:
            index.remove(rows)


def unit(vectors: F32) -> F32:
    """Returns the vectors at length 1; NaN rows for those whose length is 0 or not a normal float32 number."""
    # Summed in float64: squares of float32 numbers can be too small or too large for float32.
    squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    with np.errstate(over="ignore"):
        lengths = np.sqrt(squares).astype(np.float32)
    usable = np.isfinite(lengths) & (lengths >= np.finfo(np.float32).tiny)
    return np.asarray(vectors / np.where(usable, lengths, np.nan)[:, None], np.float32)


def _replace(index: VectorIndex, rows: I64, vectors: F32) -> None:
    has = np.asarray(~np.isnan(vectors).any(axis=1))
    index.remove(rows[~has])
    index.put(rows[has], vectors[has])
