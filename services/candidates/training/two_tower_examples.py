"""What the two towers are trained and stopped on, as arrays: a like, and the likes before it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from services.candidates.arrays import F32, I32, I64, Mask
    from services.candidates.training.likes import Likes

_MAX_JUDGED_USERS = 1_000
_MAX_JUDGED_LIKES = 20
"""Of one user."""
_MAX_JUDGED_ITEMS = 10_000


@dataclass(frozen=True, eq=False)
class Sequences:
    """The likes of all users, one after the other, each user's in the order of time.

    Likes `low[u]` to `high[u]` are those of user u.
    """

    rows: I32
    """The liked items, (likes,)."""
    strengths: F32
    """How much each counts, (likes,)."""
    low: I32
    high: I32

    @classmethod
    def of(cls, likes: Likes) -> Sequences:
        """Reads likes; the strengths are brought into the order of time."""
        bounds = likes.matrix.indptr.astype(np.int64)
        users = np.repeat(np.arange(len(bounds) - 1), np.diff(bounds))
        # Columns ascend within a user, users ascend: so do these keys.
        keys = users * likes.matrix.shape[1] + likes.matrix.indices
        places = np.searchsorted(keys, users * likes.matrix.shape[1] + likes.sequence)
        strengths = likes.matrix.data[places].astype(np.float32)
        return cls(
            likes.sequence.astype(np.int32), strengths, bounds[:-1].astype(np.int32), bounds[1:].astype(np.int32)
        )

    @property
    def lengths(self) -> I64:
        """Number of likes of each user, (users,)."""
        return self.high.astype(np.int64) - self.low

    def counts(self, n_items: int) -> I64:
        """Returns how often each item is in these sequences, (items,)."""
        total = len(self.rows)
        inside = np.arange(total) < np.repeat(self.high, np.diff(np.append(self.low, total)))
        return np.bincount(self.rows[inside], minlength=n_items).astype(np.int64)

    def windows(self, length: int, rng: np.random.Generator) -> tuple[I32, I64]:
        """Cuts every sequence into stretches of `length` likes, beginning at random, in random order.

        Returns:
            where each stretch begins, which may be before the user's first like; and whose it is.

        """
        shift = rng.integers(0, length, len(self.low))
        count = (self.lengths + shift + length - 1) // length
        count[self.lengths == 0] = 0
        users = np.repeat(np.arange(len(count)), count)
        number = np.arange(len(users)) - np.repeat(np.cumsum(count) - count, count)
        first = (self.low[users] - shift[users] + number * length).astype(np.int32)
        order = rng.permutation(len(users))
        return first[order], users[order]

    def batches(self, length: int, targets: int, rng: np.random.Generator) -> Iterator[tuple[I32, I32, I32]]:
        """Yields batches of stretches, of about `targets` likes: where they begin, and the bounds of their users."""
        first, users = self.windows(length, rng)
        size = max(1, round(targets * len(first) / max(int(self.lengths.sum()), 1)))
        for start in range(0, len(first), size):
            own = users[start : start + size]
            yield first[start : start + size], self.low[own], self.high[own]


@dataclass(frozen=True, eq=False)
class Judged:
    """Likes that are kept from the training, to see when it should end."""

    users: I64
    """The users, each with likes before and after `cut`."""
    cut: I64
    """Likes from here to the user's end are kept from the training."""
    target_users: I64
    """For each of those likes the place of its user in `users`, (targets,)."""
    targets: I64
    """The liked item, (targets,)."""
    items: I64
    """Items it is ranked among: liked ones, ascending."""
    seen: Mask
    """Which of `items` a user liked before the cut, (users, items)."""

    def quality(self, scores: F32, target_scores: F32) -> float:
        """Returns the mean of 1 / log2(1 + rank) over the targets: NDCG of each like alone, without a cut.

        Args:
            scores: of each user and item of `items`, (users, items).
            target_scores: of each target, (targets,).

        """
        scores = np.where(self.seen, -np.inf, scores)
        ranks = np.array(
            [
                1 + np.count_nonzero(scores[user] > score)
                for user, score in zip(self.target_users, target_scores, strict=True)
            ]
        )
        return float(np.mean(1 / np.log2(1 + ranks)))


def hold_out(sequences: Sequences, share: float, rng: np.random.Generator) -> tuple[Sequences, Judged | None]:
    """Takes the last fifth of the likes of some users out of the sequences.

    Args:
        sequences: all likes.
        share: share of the users with at least five likes, 0 to 1; at most a thousand users.
        rng: chooses them.

    Returns:
        What is left, and what was taken out; None when that is nothing.

    """
    able = np.flatnonzero(sequences.lengths >= 5)  # noqa: PLR2004 (so that a fifth is at least one)
    size = min(round(share * len(able)), _MAX_JUDGED_USERS)
    if not size:
        return sequences, None
    users = np.sort(rng.choice(able, size, replace=False))
    held = np.minimum(sequences.lengths[users] // 5, _MAX_JUDGED_LIKES)
    cut = sequences.high[users] - held
    high = sequences.high.copy()
    high[users] = cut
    places = np.concatenate([np.arange(start, start + own) for start, own in zip(cut, held, strict=True)])
    items = np.unique(sequences.rows)
    if len(items) > _MAX_JUDGED_ITEMS:
        items = np.sort(rng.choice(items, _MAX_JUDGED_ITEMS, replace=False))
    seen = np.stack(
        [np.isin(items, sequences.rows[low:end]) for low, end in zip(sequences.low[users], cut, strict=True)]
    )
    judged = Judged(
        users,
        cut.astype(np.int64),
        np.repeat(np.arange(size), held),
        sequences.rows[places].astype(np.int64),
        items.astype(np.int64),
        seen,
    )
    return Sequences(sequences.rows, sequences.strengths, sequences.low, high), judged
