"""Events as the matrix that models are fitted on."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy.sparse as sp

from services.candidates.profile import build_profile
from shared.data.splits import by_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from services.candidates.arrays import F64, I64
    from shared.data.nouns import Event
    from shared.data.preferences import PreferenceRules


@dataclass(frozen=True, eq=False)
class Likes:
    """What users like, user by user.

    Rows `matrix.indptr[u]` to `matrix.indptr[u + 1]` of the flat arrays are those of user u.
    """

    matrix: sp.csr_matrix
    """Strengths, float32 CSR (users, items), each user's columns ascending."""
    events: I64
    """Number of events of each item, int64 (items,), also of those that are no likes."""
    users: tuple[str, ...]
    """Ids of the users, sorted."""
    sequence: I64
    """The liked items, int64 (likes,), each user's in the order of their last positive events, the oldest first."""
    times: F64
    """When those were, float64 (likes,), unix seconds; aligned with `sequence`."""
    tried: sp.csr_matrix | None = None
    """1 where a user had something to do with an item and neither likes nor dislikes it, float32 CSR (users, items)."""
    tried_sequence: I64 = field(default_factory=lambda: np.zeros(0, np.int64))
    """The tried items, int64 (tries,), user by user as `tried`, each user's in the order of their last events."""
    tried_times: F64 = field(default_factory=lambda: np.zeros(0, np.float64))
    """When those were, float64 (tries,), unix seconds."""

    def weight_of_tried(self, weight: float) -> float:
        """Returns the strength that a model of these gives to what was only tried: `weight`, 0 where it is not known.

        What learned of likes alone must be asked about likes alone, too.
        """
        return 0.0 if self.tried is None else weight

    def interactions(self, weight: float) -> sp.csr_matrix:
        """Returns the strengths with `weight` where an item was only tried: float32 CSR (users, items)."""
        if self.tried is None or weight <= 0:
            return self.matrix
        both: sp.csr_matrix = (self.matrix + self.tried * np.float32(weight)).tocsr()
        both.sort_indices()
        return both

    def with_tried(self, weight: float) -> Likes:
        """Returns these with what was only tried as likes of this strength, each at its time."""
        if self.tried is None or weight <= 0:
            return self
        users = np.arange(self.matrix.shape[0])
        owners = np.concatenate([np.repeat(users, np.diff(one.indptr)) for one in (self.tried, self.matrix)])
        times = np.concatenate([self.tried_times, self.times])
        order = np.lexsort((times, owners))
        sequence = np.concatenate([self.tried_sequence, self.sequence])[order]
        return Likes(self.interactions(weight), self.events, self.users, sequence, times[order])

    @property
    def per_item(self) -> I64:
        """Number of users who like each item, (items,)."""
        return np.bincount(self.matrix.indices, minlength=self.matrix.shape[1]).astype(np.int64)

    @property
    def newest(self) -> float:
        """When the newest like was, unix seconds; 0 when there is none."""
        return float(self.times.max(initial=0.0))


def likes_of(events: Sequence[Event], rows: Mapping[str, int], rules: PreferenceRules) -> Likes:
    """Judges each user's events as serving judges a history; users in id order, so that the log's order has no say."""
    users = by_user(events)
    ids = tuple(sorted(users))
    profiles = [build_profile(users[user], rows, rules) for user in ids]
    orders = [np.argsort(own.liked) for own in profiles]
    indptr = np.cumsum([0, *(len(own.liked) for own in profiles)])
    columns = _joined([own.liked[order] for own, order in zip(profiles, orders, strict=True)], np.int64)
    strengths = _joined([own.strengths[order] for own, order in zip(profiles, orders, strict=True)], np.float32)
    shape = (len(ids), len(rows))
    matrix = sp.csr_matrix((strengths, columns, indptr), shape=shape)
    tried = _joined([np.sort(own.tried) for own in profiles], np.int64)
    tried_indptr = np.cumsum([0, *(len(own.tried) for own in profiles)])
    counted = np.fromiter((rows[event.item_id] for event in events), np.int64, len(events))
    return Likes(
        matrix,
        np.bincount(counted, minlength=len(rows)).astype(np.int64),
        ids,
        _joined([own.liked for own in profiles], np.int64),
        _joined([own.times for own in profiles], np.float64),
        sp.csr_matrix((np.ones(len(tried), np.float32), tried, tried_indptr), shape=shape),
        _joined([own.tried for own in profiles], np.int64),
        _joined([own.tried_times for own in profiles], np.float64),
    )


def _joined(parts: Sequence[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    return np.concatenate([np.zeros(0, dtype), *parts])
