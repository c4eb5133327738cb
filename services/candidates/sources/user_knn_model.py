"""What training keeps of users for user-based neighbours: their vectors and their newest likes."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.candidates.profile import Profile
from services.candidates.sources.hyperparameters import UserKnnParameters
from services.candidates.sources.user_ids import UserIds

if TYPE_CHECKING:
    from pathlib import Path

    from services.candidates.arrays import F32, I32, I64
    from services.candidates.training.likes import Likes

_ARRAYS = ("vectors", "indptr", "columns", "strengths")
_PARAMETERS = "parameters.json"


class FoldIn(Protocol):
    """What makes a user's vector: a fitted matrix factorisation."""

    def fold_in(self, profile: Profile) -> F32:
        """Returns the user's vector; zero when no liked item is known."""


@dataclass(frozen=True, eq=False)
class UserKnnModel:
    """The users of the training. The arrays have one row per user.

    `vectors` float32 (users, dim): length 1, or zero for a user with too few likes. The newest likes are CSR, the
    oldest first: `indptr` int64 (users + 1,), `columns` int32 and `strengths` float32 (likes,).
    """

    ids: UserIds
    vectors: F32
    indptr: I64
    columns: I32
    strengths: F32
    parameters: UserKnnParameters

    @classmethod
    def fit(cls, likes: Likes, factors: FoldIn, parameters: UserKnnParameters) -> UserKnnModel:
        """Keeps each user's newest likes, and folds users with enough of them in."""
        parameters = replace(parameters, tried_weight=likes.weight_of_tried(parameters.tried_weight))
        likes = likes.with_tried(parameters.tried_weight)
        lengths = np.diff(likes.matrix.indptr).astype(np.int64)
        kept = np.arange(likes.matrix.nnz) >= np.repeat(np.cumsum(lengths) - parameters.newest_likes, lengths)
        columns = likes.sequence[kept].astype(np.int32)
        strengths = _in_sequence(likes, lengths)[kept]
        indptr = np.concatenate([[0], np.cumsum(np.minimum(lengths, parameters.newest_likes))]).astype(np.int64)
        vectors = [
            unit_vector(factors, columns[start:end].astype(np.int64), strengths[start:end])
            for start, end in zip(indptr[:-1].tolist(), indptr[1:].tolist(), strict=True)
            if end - start >= parameters.min_likes
        ]
        dim = len(factors.fold_in(Profile(np.zeros(0, np.int64), np.zeros(0, np.float32))))
        every = np.zeros((len(lengths), dim), np.float32)
        if vectors:
            every[lengths >= parameters.min_likes] = np.stack(vectors)
        return cls(UserIds.of(likes.users), every, indptr, columns, strengths, parameters)

    def save(self, folder: Path) -> None:
        """Writes the model into a folder, which is made when it is missing."""
        self.ids.save(folder / "ids")
        for name in _ARRAYS:
            np.save(folder / f"{name}.npy", getattr(self, name))
        (folder / _PARAMETERS).write_text(json.dumps(asdict(self.parameters)))

    @classmethod
    def load(cls, folder: Path) -> UserKnnModel:
        """Reads what `save` wrote; the arrays stay on disk until they are used.

        Raises:
            OSError, ValueError, TypeError: the folder does not hold a model.

        """
        # As plain arrays: every slice of a `memmap` costs microseconds.
        vectors, indptr, columns, strengths = (
            np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in _ARRAYS
        )
        parameters = UserKnnParameters(**json.loads((folder / _PARAMETERS).read_text()))
        return cls(UserIds.load(folder / "ids"), vectors, indptr, columns, strengths, parameters)


def _in_sequence(likes: Likes, lengths: I64) -> F32:
    """Returns the strengths of `likes.sequence`, those of the matrix in the order of their columns."""
    users = np.repeat(np.arange(len(lengths)), lengths)
    strengths = np.empty(likes.matrix.nnz, np.float32)
    strengths[np.lexsort((likes.sequence, users))] = likes.matrix.data
    return strengths


def unit_vector(factors: FoldIn, columns: I64, strengths: F32) -> F32:
    """Returns the vector of a user with these likes at length 1; zero when no like is known."""
    return at_unit_length(factors.fold_in(Profile(columns, strengths)))


def at_unit_length(vector: F32) -> F32:
    """Returns the vector at length 1, or zero when it is."""
    length = math.sqrt(float(vector @ vector))
    return (vector / length).astype(np.float32) if length > 0 else np.zeros_like(vector)
