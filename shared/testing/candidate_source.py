"""Contract of candidate sources: what every one of them must hold, against a brute-force oracle.

Subclass `CandidateSourceContract`, name the class `Test…`, and say how the source is fitted, stored and computed
the slow way. Everything is checked through `propose` and `score`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    F32 = NDArray[np.float32]
    I64 = NDArray[np.int64]

N_USERS, N_ITEMS, N_UNLIKED = 80, 150, 10


def taste_matrix(seed: int = 3) -> F32:
    """Returns likes of 80 users and 150 items: 0 or 1, three groups of taste; nobody likes the last ten items."""
    rng = np.random.default_rng(seed)
    group_of_user = rng.integers(3, size=N_USERS)
    group_of_item = rng.integers(3, size=N_ITEMS)
    chance = np.where(group_of_user[:, None] == group_of_item[None, :], 0.25, 0.03)
    likes = (rng.random((N_USERS, N_ITEMS)) < chance).astype(np.float32)
    likes[:, N_ITEMS - N_UNLIKED :] = 0
    return likes


class CandidateSourceContract(ABC):
    """Tests that every candidate source passes."""

    personal: ClassVar[bool] = True
    """False for a source that says the same to everybody."""
    tolerance: ClassVar[float] = 2e-4
    """Largest absolute difference of a score to the oracle's."""

    @abstractmethod
    def fit(self, likes: F32) -> Any:
        """Returns what the source is made of, fitted on a dense matrix of likes, always with the same seed."""

    @abstractmethod
    def stored(self, fitted: Any, folder: Path) -> Any:
        """Returns `fitted` after a round trip through a folder."""

    @abstractmethod
    def source(self, fitted: Any) -> Any:
        """Returns the source."""

    @abstractmethod
    def profile(self, liked: I64) -> Any:
        """Returns the profile of a user who liked these rows, the oldest first."""

    @abstractmethod
    def allowed(self, mask: NDArray[np.bool_]) -> Any:
        """Returns what `propose` takes for a mask of the rows that may come."""

    @abstractmethod
    def oracle(self, fitted: Any, liked: I64) -> F32:
        """Returns the scores of all rows, computed densely; NaN where the source cannot say."""

    def test_scores_are_those_of_the_oracle(self) -> None:
        fitted = self.fit(taste_matrix())
        source = self.source(fitted)
        for liked in _histories():
            scores = source.score(self.profile(liked), np.arange(N_ITEMS))
            np.testing.assert_allclose(scores, self.oracle(fitted, liked), atol=self.tolerance, equal_nan=True)
            assert scores.dtype == np.float32

    def test_proposals_are_the_best_of_the_allowed(self) -> None:
        fitted = self.fit(taste_matrix())
        source = self.source(fitted)
        allowed = np.random.default_rng(5).random(N_ITEMS) < 0.6  # noqa: PLR2004 (some are allowed, some not)
        for liked in _histories():
            expected = self.oracle(fitted, liked)
            proposal = source.propose(self.profile(liked), 20, self.allowed(allowed))
            best = np.sort(-expected[allowed & ~np.isnan(expected)])[:20]
            np.testing.assert_allclose(-proposal.scores, best, atol=self.tolerance)
            np.testing.assert_allclose(expected[proposal.rows], proposal.scores, atol=self.tolerance)
            assert allowed[proposal.rows].all()
            assert len(set(proposal.rows.tolist())) == len(proposal.rows)

    def test_a_narrow_mask_still_fills_the_list(self) -> None:
        fitted = self.fit(taste_matrix())
        liked = _histories()[0]
        known = np.flatnonzero(~np.isnan(self.oracle(fitted, liked)))[-2:]
        allowed = np.zeros(N_ITEMS, bool)
        allowed[known] = True
        proposal = self.source(fitted).propose(self.profile(liked), 2, self.allowed(allowed))
        assert sorted(proposal.rows.tolist()) == sorted(known.tolist())

    def test_a_stored_model_answers_as_before(self, tmp_path: Path) -> None:
        fitted = self.fit(taste_matrix())
        before, after = self.source(fitted), self.source(self.stored(fitted, tmp_path))
        for liked in _histories():
            profile = self.profile(liked)
            every = self.allowed(np.ones(N_ITEMS, bool))
            one, two = before.propose(profile, 30, every), after.propose(self.profile(liked), 30, every)
            assert one.rows.tolist() == two.rows.tolist()
            np.testing.assert_array_equal(one.scores, two.scores)
        assert before.n_items == after.n_items

    def test_the_same_seed_makes_the_same_list(self) -> None:
        liked = _histories()[0]
        lists = [
            self.source(self.fit(taste_matrix())).propose(self.profile(liked), 30, self.allowed(np.ones(N_ITEMS, bool)))
            for _ in range(2)
        ]
        assert lists[0].rows.tolist() == lists[1].rows.tolist()
        np.testing.assert_array_equal(lists[0].scores, lists[1].scores)

    def test_what_others_ask_changes_nothing_for_me(self) -> None:
        source = self.source(self.fit(taste_matrix()))
        mine, *others = _histories()
        every = self.allowed(np.ones(N_ITEMS, bool))
        before = source.propose(self.profile(mine), 30, every)
        for liked in others:
            source.propose(self.profile(liked), 30, every)
        after = source.propose(self.profile(mine), 30, every)
        assert before.rows.tolist() == after.rows.tolist()

    def test_many_rows_score_as_each_alone(self) -> None:
        source = self.source(self.fit(taste_matrix()))
        profile = self.profile(_histories()[0])
        rows = np.arange(0, N_ITEMS, 7)
        alone = np.concatenate([source.score(profile, np.array([row])) for row in rows])
        np.testing.assert_allclose(source.score(profile, rows), alone, atol=1e-6, equal_nan=True)

    def test_without_likes(self) -> None:
        source = self.source(self.fit(taste_matrix()))
        nobody = self.profile(np.zeros(0, np.int64))
        proposal = source.propose(nobody, 10, self.allowed(np.ones(N_ITEMS, bool)))
        scores = source.score(nobody, np.arange(N_ITEMS))
        if self.personal:
            assert len(proposal.rows) == 0
            assert "no liked item" in proposal.reason
            assert np.isnan(scores).all()
        else:
            assert len(proposal.rows) == 10  # noqa: PLR2004 (all that were asked for)
            assert not np.isnan(scores).any()

    def test_rows_added_after_the_fit_do_no_harm(self) -> None:
        source = self.source(self.fit(taste_matrix()))
        liked = np.append(_histories()[0], N_ITEMS + 5)
        profile = self.profile(liked)
        proposal = source.propose(profile, 5, self.allowed(np.ones(N_ITEMS + 50, bool)))
        assert (proposal.rows < N_ITEMS).all()
        assert len(source.score(profile, np.array([0, N_ITEMS + 5]))) == 2  # noqa: PLR2004 (one per row)


def _histories() -> list[I64]:
    rng = np.random.default_rng(11)
    return [rng.choice(N_ITEMS - N_UNLIKED, size, replace=False) for size in (12, 1, 40, 5)]
