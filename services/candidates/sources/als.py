"""Implicit-feedback matrix factorisation: learned item factors, users folded in at request time."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from services.candidates.arrays import GrowingArray
from services.candidates.index.allowed import Allowed
from services.candidates.ports import Proposal
from services.candidates.sources.bm25 import Bm25
from services.candidates.sources.kind import SourceKind
from services.candidates.sources.penalties import PenaltyWeights
from services.candidates.sources.views import ViewSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    import scipy.sparse as sp

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.ports import AlsEngine, Source, VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.hyperparameters import AlsParameters
    from services.candidates.sources.kind import Opening, TrainingData
    from services.candidates.training.likes import Likes

ALS_TRIED = "als_tried"
SMALL_SHARE = 0.5
"""Up to so many likes per factor a user is folded in by a system as large as the likes, measured."""
NO_LIKES = "no liked item in the history that the model knows"


@dataclass(frozen=True, eq=False)
class AlsModel:
    """Item factors of weighted matrix factorisation, fitted on likes with BM25 weights.

    Hu, Koren, Volinsky: Collaborative Filtering for Implicit Feedback Datasets, 2008.
    `factors` is float32 (items, factors), zero where `known` is False.
    """

    factors: F32
    known: Mask
    bm25: Bm25
    regularization: float
    alpha: float
    gram: F32
    """factors' factors, shape (factors, factors): the part of the fold-in that is the same for all users."""
    user_gram: F32
    """The users' factors' factors, shape (factors, factors): the same for the fold-in of an item; zero: not known."""
    tried_weight: float = 0.0
    """What an event that is no like weighs, where it counts."""
    user_penalties: PenaltyWeights = field(default_factory=PenaltyWeights)
    """What `regularization` is multiplied by for a user."""
    item_penalties: PenaltyWeights = field(default_factory=PenaltyWeights)
    """The same for an item."""
    _inverses: dict[float, F32] = field(default_factory=dict, repr=False)
    """(Y'Y + penalty I)^-1 by the penalty: `PenaltyWeights` has few levels."""

    @classmethod
    def fit(cls, likes: sp.csr_matrix, parameters: AlsParameters, seed: int, threads: int) -> AlsModel:
        """Fits strengths, float32 CSR (users, items). The same seed gives the same factors."""
        from services.candidates.training.als_fit import ScaledAls

        bm25 = Bm25.fit(likes, parameters.bm25_k1, parameters.bm25_b)
        weighted = likes.astype(np.float32, copy=True)
        lengths = np.diff(likes.indptr)
        weighted.data = bm25.weights(likes.indices.astype(np.int64), likes.data, np.repeat(lengths, lengths))
        # implicit's own threads and those of BLAS get in each other's way.
        with threadpool_limits(1, "blas"):
            model = ScaledAls(
                parameters.regularization_power,
                factors=parameters.factors,
                regularization=parameters.regularization,
                alpha=parameters.alpha,
                iterations=parameters.iterations,
                random_state=seed,
                num_threads=threads,
            )
            model.fit(weighted, show_progress=False)
        per_item = np.bincount(likes.indices, minlength=likes.shape[1])
        known = per_item > 0
        factors = np.where(known[:, None], np.asarray(model.item_factors, np.float32), np.float32(0))
        gram = (factors.T @ factors).astype(np.float32)
        users = np.asarray(model.user_factors, np.float32)
        return cls(
            factors,
            known,
            bm25,
            parameters.regularization,
            parameters.alpha,
            gram,
            (users.T @ users).astype(np.float32),
            parameters.tried_weight,
            PenaltyWeights.fit(lengths, parameters.regularization_power),
            PenaltyWeights.fit(per_item, parameters.regularization_power),
        )

    @classmethod
    def fit_with(cls, engine: AlsEngine, likes: Likes, parameters: AlsParameters, seed: int, threads: int) -> AlsModel:
        """Fits likes with an engine of its own; serving asks nothing of the engine.

        The engine's penalty of the fold-in is one for all users, whatever `regularization_power` says.

        Raises:
            DependencyUnavailable: the engine fails.

        """
        fitted = engine.fit(likes, parameters, seed, threads)
        gram = (fitted.factors.T @ fitted.factors).astype(np.float32)
        bm25 = Bm25.fit(likes.matrix, parameters.bm25_k1, parameters.bm25_b)
        known = likes.per_item > 0
        return cls(
            fitted.factors,
            known,
            bm25,
            fitted.regularization,
            fitted.alpha,
            gram,
            np.zeros_like(gram),
            parameters.tried_weight,
        )

    def fold_in(self, profile: Profile) -> F32:
        """Returns the user's vector, shape (factors,); zero when no liked item is known.

        x = (Y'Y + Yh'(C - I)Yh + reg w I)^-1 Yh'c with c = alpha * BM25 weight and w the weight of the penalty of a
        user with so many likes: one exact half-step of ALS.
        """
        return profile.keep(f"als {id(self)}", lambda: self._fold_in(profile))

    def _fold_in(self, profile: Profile) -> F32:
        usable = profile.liked < len(self.known)
        usable[usable] = self.known[profile.liked[usable]]
        rows = profile.liked[usable]
        if not len(rows):
            return np.zeros(self.factors.shape[1], np.float32)
        confidence = self.alpha * self.bm25.weights(rows, profile.strengths[usable], len(profile.liked))
        own = self.factors[rows]
        penalty = self.regularization * self.user_penalties.of_one(len(rows))
        if len(rows) <= SMALL_SHARE * own.shape[1]:
            return self._solve_few(own, confidence, penalty)
        left = self.gram + (own.T * (confidence - 1)) @ own
        left.flat[:: len(left) + 1] += penalty  # the diagonal
        user: F32 = np.linalg.solve(left, own.T @ confidence).astype(np.float32)
        return user

    def _solve_few(self, own: F32, confidence: F32, penalty: float) -> F32:
        """Solves the same with a system as large as the number of likes, where these are few.

        By the push-through identity (A + Yh'D Yh)^-1 Yh'c = A^-1 Yh'(I + D Yh A^-1 Yh')^-1 c with D = C - I: a fifth
        of the time for a few likes, which is what most users have that the log brings.
        """
        inverse = self._inverses.get(penalty)
        if inverse is None:
            left = self.gram.astype(np.float64)
            left.flat[:: len(left) + 1] += penalty
            inverse = self._inverses[penalty] = np.linalg.inv(left).astype(np.float32)
        towards = own @ inverse
        small = (confidence - 1)[:, None] * (towards @ own.T)
        small.flat[:: len(small) + 1] += 1
        user: F32 = (np.linalg.solve(small, confidence) @ towards).astype(np.float32)
        return user

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "factors.npy", self.factors)
        np.save(folder / "known.npy", self.known)
        np.save(folder / "user_gram.npy", self.user_gram)
        np.save(folder / "idf.npy", self.bm25.idf)
        meta = {
            "mean_likes": self.bm25.mean_likes,
            "log_users": self.bm25.log_users,
            "k1": self.bm25.k1,
            "b": self.bm25.b,
            "regularization": self.regularization,
            "alpha": self.alpha,
            "tried_weight": self.tried_weight,
            "user_penalties": asdict(self.user_penalties),
            "item_penalties": asdict(self.item_penalties),
        }
        (folder / "als.json").write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> AlsModel:
        """Reads what `save` wrote; arrays stay on disk until they are used.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold a model.

        """
        meta = json.loads((folder / "als.json").read_text())
        bm25 = Bm25(np.load(folder / "idf.npy"), meta["mean_likes"], meta["k1"], meta["b"], meta["log_users"])
        # As a plain array: every slice of a `memmap` costs microseconds.
        factors = np.asarray(np.load(folder / "factors.npy", mmap_mode="r"))
        gram = (factors.T @ factors).astype(np.float32)
        known = np.load(folder / "known.npy")
        user_gram = np.load(folder / "user_gram.npy")
        return cls(
            factors,
            known,
            bm25,
            meta["regularization"],
            meta["alpha"],
            gram,
            user_gram,
            meta["tried_weight"],
            PenaltyWeights(**meta["user_penalties"]),
            PenaltyWeights(**meta["item_penalties"]),
        )


class AlsSource:
    """Items whose learned factors fit the user's."""

    name = "als"
    proposes = True

    def __init__(self, model: AlsModel, index: VectorIndex) -> None:
        self._model = model
        self._index = index
        self._known = GrowingArray(model.known, False)
        self._allowed = Allowed(model.known)
        self.description = f"implicit ALS, {model.factors.shape[1]} factors, user folded in from the history"

    @property
    def n_items(self) -> int:
        """Items with learned factors."""
        return int(self._known.values.sum())

    def set_learned(self, row: int, *, learned: bool) -> None:
        """Says whether the vector in the index of an item that training did not see is learned from likes by now."""
        self._known.grow(row + 1)
        if self._known.values[row] != learned:
            self._known.values[row] = learned
            self._allowed = Allowed(self._known.values.copy())

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Searches the index of the "cf" space among the items with learned factors."""
        user = self._model.fold_in(profile)
        if not user.any():
            return Proposal.nothing(NO_LIKES)
        return Proposal(*self._index.search(user, n, allowed.within(self._allowed)))

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns inner products of user and item factors; NaN for items without learned ones."""
        scores = np.full(len(rows), np.nan, np.float32)
        user = self._model.fold_in(profile)
        if not user.any():
            return scores
        learned = self._known.values
        known = rows < len(learned)
        known[known] = learned[rows[known]]
        scores[known] = self._index.vectors(rows[known]) @ user
        return scores


class AlsTriedSource(ViewSource):
    """Items that fit what the user takes up, liked or not: half of what the user will like next."""

    proposes = True

    def __init__(self, als: AlsSource, weight: float) -> None:
        what = "als of the likes and of what was only tried"
        super().__init__(ALS_TRIED, what, als, lambda user: user.with_tried(weight))

    def propose(self, profile: Profile, n: int, allowed: Allowed) -> Proposal:
        """Returns the list of `als` for likes and tries; nothing without tries: it would be the same list."""
        if not len(profile.tried):
            return Proposal.nothing("nothing in the history but likes")
        return super().propose(profile, n, allowed)


def _fit(data: TrainingData, models: Mapping[str, Any]) -> AlsModel:
    del models
    parameters = data.parameters
    if data.als_engine is not None:
        return AlsModel.fit_with(data.als_engine, data.likes, parameters.als, parameters.seed, parameters.threads)
    strengths = data.likes.interactions(parameters.als.tried_weight)
    return AlsModel.fit(strengths, parameters.als, parameters.seed, parameters.threads)


def _open(model: AlsModel, opening: Opening) -> Sequence[Source]:
    als = AlsSource(model, opening.spaces.cf)
    return [als, AlsTriedSource(als, model.tried_weight)] if model.tried_weight > 0 else [als]


KIND = SourceKind("als", _fit, AlsModel.load, _open)
