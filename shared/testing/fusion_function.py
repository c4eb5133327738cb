"""The contract of every fusion function: a subclass names it, and these tests run.

class TestLinear(FusionFunctionContract):
    make = LinearFusion
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

RELATIVE = 1e-4
"""How far contributions may be from the score, relative to it."""


class FusionFunctionContract:
    """Tests of `services.ranker.fusion.base.FusionFunction`.

    `make()` returns an unfitted function; `make_lists(seed)` returns lists with the real registry's columns and with
    vectors, in which the order can be learned; `names` are the columns' names. `in_order`: share of the pairs that a
    fitted function must have in order, on lists that it has not learned from; half is chance.
    """

    make: ClassVar[Callable[[], Any]]
    make_lists: ClassVar[Callable[[int], Any]]
    names: ClassVar[Sequence[str]]
    in_order: ClassVar[float] = 0.8

    @pytest.fixture(scope="class")
    @classmethod
    def fitted(cls) -> Any:
        """A fitted function."""
        fusion = cls.make()
        fusion.fit(cls.make_lists(0), cls.make_lists(1), cls.names)
        return fusion

    @pytest.fixture(scope="class")
    @classmethod
    def unseen(cls) -> Any:
        """Lists that were not learned from."""
        return cls.make_lists(2)

    @pytest.fixture(scope="class")
    @classmethod
    def inputs(cls, unseen: Any) -> list[Any]:
        """The same, as they are asked for."""
        return list(unseen.inputs())

    def test_learns_the_order(self, fitted: Any, unseen: Any) -> None:
        """Liked rows come before the others, on lists that were not learned from."""
        assert _pairs_in_order(_scores(fitted, unseen), unseen) > self.in_order

    def test_scores_are_finite_float32_of_one_per_row(self, fitted: Any, inputs: list[Any]) -> None:
        """Missing values included, and no vectors."""
        one = inputs[0]
        scores = fitted.predict(one)
        assert scores.dtype == np.float32
        assert scores.shape == (len(one),)
        assert np.isfinite(scores).all()
        nothing = type(one).plain(np.full((3, len(self.names)), np.nan, dtype=np.float32))
        assert np.isfinite(fitted.predict(nothing)).all()
        bias, parts = fitted.contributions(nothing)
        assert np.isfinite(bias)
        assert np.isfinite(parts).all()

    def test_contributions_add_up_to_the_score(self, fitted: Any, inputs: list[Any]) -> None:
        """Bias + contributions = score within 1e-4 relative, for every row of a thousand."""
        rows = 0
        for one in inputs:
            bias, parts = fitted.contributions(one)
            assert parts.shape == one.features.shape
            total = bias + parts.astype(np.float64).sum(axis=1)
            scores = fitted.predict(one).astype(np.float64)
            assert (np.abs(total - scores) <= RELATIVE * np.maximum(np.abs(scores), 1e-2)).all()
            rows += len(one)
        assert rows >= 1_000  # noqa: PLR2004 (what is promised)

    def test_a_row_scores_the_same_alone(self, fitted: Any, inputs: list[Any]) -> None:
        """Scores and contributions do not depend on what else is in the batch."""
        together = inputs[0].take(slice(0, 20))
        alone = [inputs[0].take([row]) for row in range(20)]
        scores = np.concatenate([fitted.predict(one) for one in alone])
        np.testing.assert_allclose(scores, fitted.predict(together), rtol=1e-4, atol=1e-5)
        parts = np.concatenate([fitted.contributions(one)[1] for one in alone])
        np.testing.assert_allclose(parts, fitted.contributions(together)[1], rtol=1e-3, atol=1e-4)

    def test_save_and_load_keep_every_score(self, fitted: Any, unseen: Any, inputs: list[Any], tmp_path: Path) -> None:
        """A loaded function is the saved one."""
        fitted.save(tmp_path)
        loaded = type(fitted).load(tmp_path)
        np.testing.assert_allclose(_scores(loaded, unseen), _scores(fitted, unseen), rtol=1e-6, atol=1e-7)
        assert loaded.contributions(inputs[0])[0] == pytest.approx(fitted.contributions(inputs[0])[0])

    def test_a_broken_file_is_corrupt_data(self, fitted: Any, tmp_path: Path) -> None:
        """Not a crash of the library that reads it."""
        from shared.errors import CorruptData

        fitted.save(tmp_path)
        for file in tmp_path.iterdir():
            if file.is_file():
                file.write_bytes(b"broken")
        with pytest.raises(CorruptData):
            type(fitted).load(tmp_path)

    def test_the_same_lists_give_the_same_model(self, fitted: Any, unseen: Any) -> None:
        """Training is deterministic."""
        again = type(self).make()
        again.fit(type(self).make_lists(0), type(self).make_lists(1), self.names)
        np.testing.assert_allclose(_scores(again, unseen), _scores(fitted, unseen), rtol=1e-4, atol=1e-5)

    def test_refit_and_update_learn_from_other_lists(self, fitted: Any, unseen: Any, tmp_path: Path) -> None:
        """After `refit`, and after `update` of a loaded function, it still orders as it should."""
        fitted.save(tmp_path)
        fusion = type(fitted).load(tmp_path)
        fusion.update(type(self).make_lists(4), self.names)
        assert _pairs_in_order(_scores(fusion, unseen), unseen) > self.in_order
        fusion.refit(type(self).make_lists(3), self.names)
        assert _pairs_in_order(_scores(fusion, unseen), unseen) > self.in_order


def _scores(fusion: Any, lists: Any) -> NDArray[np.float32]:
    return np.concatenate([fusion.predict(one) for one in lists.inputs()])


def _pairs_in_order(scores: NDArray[np.float32], lists: Any) -> float:
    """Returns the share of (liked, other) pairs within lists that are in the right order."""
    right = total = 0
    for start, size in zip(lists.starts, lists.sizes, strict=True):
        own, labels = scores[start : start + size], lists.labels[start : start + size]
        wins = own[labels > 0][:, None] > own[labels == 0][None, :]
        right += int(wins.sum())
        total += wins.size
    return right / max(total, 1)
