"""User-based collaborative filtering: what the users like that are nearest to this one. It learns from the log."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from services.candidates.index.allowed import Allowed
from services.candidates.ports import Proposal
from services.candidates.sources.item_weights import NO_LIKES
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.ranking import best, best_places
from services.candidates.sources.sums import Sums
from services.candidates.sources.user_knn_live import LiveUsers
from services.candidates.sources.user_knn_model import UserKnnModel, at_unit_length

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.candidates.arrays import F32, F64, I32, I64
    from services.candidates.ports import Source, VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.kind import Opening, TrainingData
    from services.candidates.sources.user_knn_model import FoldIn

NAME = "user_knn"
NO_NEIGHBOURS = "no other user likes what the user liked"


@dataclass(frozen=True, eq=False)
class _Compared:
    """Users near in the vector space, the nearest first, and their likes, user after user."""

    rows: I64
    dots: F64
    """x_u'x_v of their vectors of strengths, (users,); 0 for a user without a common like, above 0 for one of them."""
    lengths: F64
    """|x_u| |x_v|, (users,), above 0."""
    counts: I64
    """Number of likes, (users,)."""
    columns: I32
    strengths: F32


class _Latest:
    """What was computed last for a profile, and on which revision of the users' likes."""

    revision = -1
    sums: Sums | None = None


class UserKnnSource:
    """Items that the nearest users like.

    Herlocker, Konstan, Borchers, Riedl: An Algorithmic Framework for Performing Collaborative Filtering, 1999: a
    neighbourhood of users, weighted by similarity. The index finds the users of the nearest ALS vectors; of these the
    nearest by the shrunk cosine of what they like, s = x_u'x_v / (|x_u| |x_v| + shrinkage), are the neighbours, and an
    item's score is the mean of their strengths for it, weighted by s to the power of `amplification`.

    Args:
        model: the users of the training.
        factors: makes vectors of users.
        index: the model's vectors by row of the user; written to as the log goes on.
        size: rows of the item table.

    """

    name = NAME
    proposes = True

    def __init__(self, model: UserKnnModel, factors: FoldIn, index: VectorIndex, size: int) -> None:
        self._parameters = model.parameters
        self._factors = factors
        self._index = index
        self._size = size
        self._users = LiveUsers(model, factors, index)
        self._everybody = Allowed.everything(self._users.max_rows)
        self._n_items = int(np.count_nonzero(np.bincount(model.columns)))
        self.description = (
            f"user-based nearest neighbours: {model.parameters.neighbours} of {len(model.vectors):,} trained users, "
            "and of those that came since"
        )

    @property
    def n_items(self) -> int:
        """Items that a user of the training likes."""
        return self._n_items

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the allowed items that weigh most among the neighbours' likes."""
        user = self._with_tried(profile)
        if not self._factors.fold_in(user).any():
            return Proposal.nothing(NO_LIKES)
        sums = self._sums(user)
        if sums is None:
            return Proposal.nothing(NO_NEIGHBOURS)
        return best(*sums.positive(allowed), n)

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns the neighbours' weighted mean strength, above 0; NaN for items that none of them likes."""
        sums = self._sums(self._with_tried(profile))
        if sums is None:
            return np.full(len(rows), np.nan, np.float32)
        return sums.scores(rows)

    def similar_users(self, profile: Profile, n: int) -> tuple[list[str], F32]:
        """Returns ids of the nearest users and the cosines of their likes with this user's, nearest first.

        At most `n`; users with a common like only, and not the user `profile.user_id`.
        """
        compared = self._compared(self._with_tried(profile), max(n, self._parameters.searched))
        if compared is None:
            return [], np.zeros(0, np.float32)
        near = np.flatnonzero(compared.dots)
        rows = compared.rows[near]
        cosines = (compared.dots[near] / compared.lengths[near]).astype(np.float32)
        # Without those who were forgotten while others were compared.
        places = best_places(rows, cosines, n).tolist()
        named = [(user_id, place) for place in places if (user_id := self._users.id_of(int(rows[place]))) is not None]
        return [user_id for user_id, _ in named], cosines[np.array([place for _, place in named], np.int64)]

    def grow(self, size: int) -> None:
        """Makes room for `size` rows of the table."""
        self._size = max(self._size, size)

    def like(self, user_id: str, row: int, at: float) -> None:  # noqa: ARG002 (newest is what comes last)
        """Adds a like: it counts for the user's neighbours at once; a user becomes one with enough likes."""
        self.grow(row + 1)
        self._users.like(user_id, row)

    def take_back(self, user_id: str, row: int, at: float) -> None:  # noqa: ARG002 (there is one like of an item)
        """Takes a like out."""
        self._users.take_back(user_id, row)

    def dislike(self, user_id: str, row: int) -> None:
        """Takes out what the user only tried, as training leaves out what is disliked."""
        self._users.take_back(user_id, row)

    def forget(self, user_id: str) -> None:
        """Takes the user out of the index and of memory; later likes are those of a new user."""
        self._users.forget(user_id)

    def reset(self) -> None:
        """Takes all users out."""
        self._users.reset()

    def _with_tried(self, profile: Profile) -> Profile:
        return profile.with_tried(self._parameters.tried_weight)

    def _sums(self, profile: Profile) -> Sums | None:
        latest = profile.keep(f"user_knn {id(self)}", _Latest)
        revision = self._users.revision
        if latest.revision != revision:
            latest.sums = self._add_up(profile)
            latest.revision = revision
        return latest.sums

    def _add_up(self, profile: Profile) -> Sums | None:
        compared = self._compared(profile, self._parameters.searched)
        if compared is None:
            return None
        similarities = compared.dots / (compared.lengths + self._parameters.shrinkage)
        chosen = best_places(compared.rows, similarities.astype(np.float32), self._parameters.neighbours)
        weights = np.zeros(len(similarities))
        weights[chosen] = similarities[chosen] ** self._parameters.amplification
        weights = (weights / weights.sum()).astype(np.float32)
        return Sums(compared.columns, np.repeat(weights, compared.counts) * compared.strengths, self._size)

    def _compared(self, profile: Profile, searched: int) -> _Compared | None:
        vector = at_unit_length(self._factors.fold_in(profile))
        if not vector.any():
            return None
        # One more: the user is nearest to the user.
        rows, _ = self._index.search(vector, searched + 1, self._everybody)
        rows = rows[rows != self._row_of(profile)][:searched]
        counts, columns, strengths = self._users.likes_of(rows)
        rows, counts = rows[counts > 0], counts[counts > 0]
        if not len(rows):
            return None
        starts = np.cumsum(counts) - counts
        common = Sums(profile.liked, profile.strengths, self._size).at(columns)
        dots = np.add.reduceat(common * strengths, starts, dtype=np.float64)
        if not dots.any():
            return None
        squares = np.add.reduceat(strengths * strengths, starts, dtype=np.float64)
        own = float((profile.strengths.astype(np.float64) ** 2).sum())
        return _Compared(rows, dots, np.sqrt(squares * own), counts, columns, strengths)

    def _row_of(self, profile: Profile) -> int:
        row = self._users.row_of(profile.user_id) if profile.user_id else None
        return -1 if row is None else row


def _fit(data: TrainingData, models: Mapping[str, Any]) -> UserKnnModel:
    return UserKnnModel.fit(data.likes, models["als"], data.parameters.user_knn)


def _open(model: UserKnnModel, opening: Opening) -> Sequence[Source]:
    return (UserKnnSource(model, opening.models["als"], opening.indexes[NAME], len(opening.table)),)


def _vectors(model: UserKnnModel) -> F32:
    return model.vectors


KIND = SourceKind(NAME, _fit, UserKnnModel.load, _open, needs=("als",), vectors=_vectors)
