"""Caps: at most so many items of a category."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from services.ranker.items.arrays import Mask


class Caps:
    """Counts what is taken. `membership`: bool (n, capped categories); `limits`: int64 (capped categories,)."""

    def __init__(self, membership: Mask, limits: NDArray[np.int64]) -> None:
        self._membership = membership
        self._limits = limits
        self._counts = np.zeros(len(limits), dtype=np.int64)
        self._closed = np.asarray(membership[:, limits <= 0].any(axis=1))

    @classmethod
    def of(
        cls, categories: Sequence[Sequence[str]], own: Mapping[str, int], default: int | None, count: int | None = None
    ) -> Caps:
        """Returns the caps over n items by their categories; a category without a cap of its own has the default."""
        items = len(categories) if count is None else count
        capped: dict[str, int] = {}
        limits: list[int] = []
        pairs: list[tuple[int, int]] = []
        if own or default is not None:
            for place, names in enumerate(categories):
                for name in names:
                    limit = own.get(name, default)
                    if limit is None:
                        continue
                    if name not in capped:
                        capped[name] = len(limits)
                        limits.append(limit)
                    pairs.append((place, capped[name]))
        membership = np.zeros((items, len(limits)), dtype=np.bool_)
        if pairs:
            membership[tuple(np.array(pairs, dtype=np.intp).T)] = True
        return cls(membership, np.array(limits, dtype=np.int64))

    @property
    def open(self) -> Mask:
        """Which items may still be taken: bool (n,)."""
        return ~self._closed

    def take(self, place: int) -> None:
        """Counts an item; items of categories that are full now may not be taken any more."""
        if not len(self._limits):
            return
        self._counts += self._membership[place]
        self._closed |= self._membership[:, self._counts >= self._limits].any(axis=1)

    def close(self, place: int) -> None:
        """Lets an item not be taken any more."""
        self._closed[place] = True

    def hold(self, places: Iterable[int]) -> bool:
        """Returns whether these items together are within the caps."""
        if not len(self._limits):
            return True
        return bool((self._membership[list(places)].sum(axis=0) <= self._limits).all())
