"""Implicit-feedback matrix factorisation: learned item factors, users folded in at request time."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it has no types

from services.candidates.ports import Proposal
from services.candidates.sources.bm25 import Bm25

if TYPE_CHECKING:
    from pathlib import Path

    import scipy.sparse as sp

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.ports import VectorIndex
    from services.candidates.profile import Profile
    from services.candidates.sources.hyperparameters import AlsParameters

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

    @classmethod
    def fit(cls, likes: sp.csr_matrix, parameters: AlsParameters, seed: int, threads: int) -> AlsModel:
        """Fits likes, float32 strengths of shape (users, items). The same seed gives the same factors."""
        from implicit.als import AlternatingLeastSquares

        bm25 = Bm25.fit(likes, parameters.bm25_k1, parameters.bm25_b)
        weighted = likes.astype(np.float32, copy=True)
        for user in range(likes.shape[0]):
            start, end = likes.indptr[user], likes.indptr[user + 1]
            rows, strengths = likes.indices[start:end].astype(np.int64), likes.data[start:end]
            weighted.data[start:end] = bm25.weights(rows, strengths, end - start)
        # implicit's own threads and those of BLAS get in each other's way.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=parameters.factors,
                regularization=parameters.regularization,
                alpha=parameters.alpha,
                iterations=parameters.iterations,
                random_state=seed,
                num_threads=threads,
                use_gpu=False,
            )
            model.fit(weighted, show_progress=False)
        known = np.bincount(likes.indices, minlength=likes.shape[1]) > 0
        factors = np.where(known[:, None], np.asarray(model.item_factors, np.float32), np.float32(0))
        return cls._of(factors, known, bm25, parameters.regularization, parameters.alpha)

    @classmethod
    def _of(cls, factors: F32, known: Mask, bm25: Bm25, regularization: float, alpha: float) -> AlsModel:
        return cls(factors, known, bm25, regularization, alpha, (factors.T @ factors).astype(np.float32))

    def fold_in(self, profile: Profile) -> F32:
        """Returns the user's vector, shape (factors,); zero when no liked item is known.

        x = (Y'Y + Yh'(C - I)Yh + reg I)^-1 Yh'c with c = alpha * BM25 weight: one exact half-step of ALS.
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
        left = self.gram + (own.T * (confidence - 1)) @ own
        left.flat[:: len(left) + 1] += self.regularization  # the diagonal
        user: F32 = np.linalg.solve(left, own.T @ confidence).astype(np.float32)
        return user

    def save(self, folder: Path) -> None:
        """Writes the model into a folder."""
        folder.mkdir(parents=True, exist_ok=True)
        np.save(folder / "factors.npy", self.factors)
        np.save(folder / "known.npy", self.known)
        np.save(folder / "idf.npy", self.bm25.idf)
        meta = {
            "mean_likes": self.bm25.mean_likes,
            "k1": self.bm25.k1,
            "b": self.bm25.b,
            "regularization": self.regularization,
            "alpha": self.alpha,
        }
        (folder / "als.json").write_text(json.dumps(meta))

    @classmethod
    def load(cls, folder: Path) -> AlsModel:
        """Reads what `save` wrote; arrays stay on disk until they are used.

        Raises:
            OSError, ValueError, KeyError: the folder does not hold a model.

        """
        meta = json.loads((folder / "als.json").read_text())
        bm25 = Bm25(np.load(folder / "idf.npy"), meta["mean_likes"], meta["k1"], meta["b"])
        # As a plain array: every slice of a `memmap` costs microseconds.
        factors = np.asarray(np.load(folder / "factors.npy", mmap_mode="r"))
        return cls._of(factors, np.load(folder / "known.npy"), bm25, meta["regularization"], meta["alpha"])


class AlsSource:
    """Items whose learned factors fit the user's."""

    name = "als"
    proposes = True

    def __init__(self, model: AlsModel, index: VectorIndex) -> None:
        self._model = model
        self._index = index
        self.description = f"implicit ALS, {model.factors.shape[1]} factors, user folded in from the history"

    @property
    def n_items(self) -> int:
        """Items with learned factors."""
        return int(self._model.known.sum())

    def propose(self, profile: Profile, n: int, allowed: Mask) -> Proposal:
        """Searches the index of the "cf" space among the items with learned factors."""
        user = self._model.fold_in(profile)
        if not user.any():
            return Proposal.nothing(NO_LIKES)
        known = np.zeros_like(allowed)
        shared = min(len(allowed), len(self._model.known))
        known[:shared] = allowed[:shared] & self._model.known[:shared]
        return Proposal(*self._index.search(user, n, known))

    def score(self, profile: Profile, rows: I64) -> F32:
        """Returns inner products of user and item factors; NaN for items without learned ones."""
        scores = np.full(len(rows), np.nan, np.float32)
        user = self._model.fold_in(profile)
        if not user.any():
            return scores
        known = rows < len(self._model.known)
        known[known] = self._model.known[rows[known]]
        scores[known] = self._model.factors[rows[known]] @ user
        return scores
