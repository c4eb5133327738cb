"""What every source does that searches vectors with the user's."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.ports import Proposal

if TYPE_CHECKING:
    from services.candidates.arrays import F32, I64
    from services.candidates.index.allowed import Allowed
    from services.candidates.ports import VectorIndex
    from services.candidates.profile import Profile


class NearestSource(ABC):
    """Items of the largest inner product with a vector of the user, of all that are in the index."""

    def __init__(self, index: VectorIndex, nothing: str) -> None:
        self._index = index
        self._nothing = nothing

    @abstractmethod
    def user_vector(self, profile: Profile) -> F32 | None:
        """Returns the user's vector, float32 (dim,); None when the history says nothing here."""

    @property
    def n_items(self) -> int:
        """Items with a vector."""
        return self._index.count

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Searches the allowed items with the user's vector."""
        user = self.user_vector(profile)
        return Proposal.nothing(self._nothing) if user is None else Proposal(*self._index.search(user, n, allowed))

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns inner products; NaN for items without a vector."""
        user = self.user_vector(profile)
        if user is None:
            return np.full(len(rows), np.nan, np.float32)
        return self._index.vectors(rows) @ user
