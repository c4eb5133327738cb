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

    `make()` returns an unfitted function; `make_lists(seed)` returns lists with the real registry's columns, in which
    the order can be learned; `names` are the columns' names.
    """

    make: ClassVar[Callable[[], Any]]
    make_lists: ClassVar[Callable[[int], Any]]
    names: ClassVar[Sequence[str]]

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

    def test_learns_the_order(self, fitted: Any, unseen: Any) -> None:
        """Liked rows come before the others, on lists that were not learned from."""
        assert _pairs_in_order(fitted.predict(unseen.features), unseen) > 0.8  # noqa: PLR2004 (half is chance)

    def test_scores_are_finite_float32_of_one_per_row(self, fitted: Any, unseen: Any) -> None:
        """Missing values included."""
        scores = fitted.predict(unseen.features)
        assert scores.dtype == np.float32
        assert scores.shape == (len(unseen.features),)
        assert np.isfinite(scores).all()
        assert np.isfinite(fitted.predict(np.full((3, len(self.names)), np.nan, dtype=np.float32))).all()

    def test_contributions_add_up_to_the_score(self, fitted: Any, unseen: Any) -> None:
        """Bias + contributions = score within 1e-4 relative, for every row."""
        bias, parts = fitted.contributions(unseen.features)
        assert parts.shape == unseen.features.shape
        total = bias + parts.astype(np.float64).sum(axis=1)
        scores = fitted.predict(unseen.features).astype(np.float64)
        assert (np.abs(total - scores) <= RELATIVE * np.maximum(np.abs(scores), 1e-2)).all()

    def test_a_row_scores_the_same_alone(self, fitted: Any, unseen: Any) -> None:
        """Scores do not depend on what else is in the batch."""
        together = fitted.predict(unseen.features[:20])
        alone = np.concatenate([fitted.predict(unseen.features[row : row + 1]) for row in range(20)])
        np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-6)

    def test_save_and_load_keep_every_score(self, fitted: Any, unseen: Any, tmp_path: Path) -> None:
        """A loaded function is the saved one."""
        fitted.save(tmp_path)
        loaded = type(fitted).load(tmp_path)
        np.testing.assert_allclose(loaded.predict(unseen.features), fitted.predict(unseen.features), rtol=1e-6)
        assert loaded.contributions(unseen.features[:5])[0] == pytest.approx(fitted.contributions(unseen.features)[0])

    def test_a_broken_file_is_corrupt_data(self, fitted: Any, tmp_path: Path) -> None:
        """Not a crash of the library that reads it."""
        from shared.errors import CorruptData

        fitted.save(tmp_path)
        for file in tmp_path.iterdir():
            file.write_bytes(b"broken")
        with pytest.raises(CorruptData):
            type(fitted).load(tmp_path)

    def test_the_same_lists_give_the_same_model(self, fitted: Any, unseen: Any) -> None:
        """Training is deterministic."""
        again = type(self).make()
        again.fit(type(self).make_lists(0), type(self).make_lists(1), self.names)
        np.testing.assert_allclose(again.predict(unseen.features), fitted.predict(unseen.features), rtol=1e-5)

    def test_refit_learns_from_all_lists(self, unseen: Any) -> None:
        """After `refit` the function still orders as it should."""
        fusion = type(self).make()
        fusion.fit(type(self).make_lists(0), type(self).make_lists(1), self.names)
        fusion.refit(type(self).make_lists(3), self.names)
        assert _pairs_in_order(fusion.predict(unseen.features), unseen) > 0.8  # noqa: PLR2004 (half is chance)


def _pairs_in_order(scores: NDArray[np.float32], lists: Any) -> float:
    """Returns the share of (liked, other) pairs within lists that are in the right order."""
    right = total = 0
    for start, size in zip(lists.starts, lists.sizes, strict=True):
        own, labels = scores[start : start + size], lists.labels[start : start + size]
        wins = own[labels > 0][:, None] > own[labels == 0][None, :]
        right += int(wins.sum())
        total += wins.size
    return right / max(total, 1)
