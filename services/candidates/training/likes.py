"""Events as the matrix that models are fitted on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp

from services.candidates.profile import build_profile
from shared.data.splits import by_user

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.candidates.arrays import I64
    from shared.data.nouns import Event
    from shared.data.preferences import PreferenceRules


@dataclass(frozen=True, eq=False)
class Likes:
    """What users like: strengths, float32 CSR (users, items), and the number of events of each item, (items,)."""

    matrix: sp.csr_matrix
    events: I64

    @property
    def per_item(self) -> I64:
        """Number of users who like each item, (items,)."""
        return np.bincount(self.matrix.indices, minlength=self.matrix.shape[1]).astype(np.int64)


def likes_of(events: Sequence[Event], rows: Mapping[str, int], rules: PreferenceRules) -> Likes:
    """Judges each user's events as serving judges a history; users in id order, so that the log's order has no say."""
    users = by_user(events)
    indptr = [0]
    columns, strengths = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for user in sorted(users):
        profile = build_profile(users[user], rows, rules)
        order = np.argsort(profile.liked)
        columns.append(profile.liked[order])
        strengths.append(profile.strengths[order])
        indptr.append(indptr[-1] + len(order))
    shape = (len(users), len(rows))
    matrix = sp.csr_matrix((np.concatenate(strengths), np.concatenate(columns), np.array(indptr)), shape=shape)
    counted = np.fromiter((rows[event.item_id] for event in events), np.int64, len(events))
    return Likes(matrix, np.bincount(counted, minlength=len(rows)).astype(np.int64))
