"""Both fusion functions keep the contract."""

from __future__ import annotations

import numpy as np
import pytest

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import RankingLists
from services.ranker.fusion.gbdt import GbdtFusion
from services.ranker.fusion.linear import LinearFusion
from services.ranker.fusion.registry import FUSIONS, new_fusions
from shared.errors import NotFound
from shared.testing.fusion_function import FusionFunctionContract

LISTS, SIZE = 60, 40


def make_lists(seed: int) -> RankingLists:
    random = np.random.default_rng(seed)
    rows = LISTS * SIZE
    features = random.normal(size=(rows, len(NAMES))).astype(np.float32)
    features[:, INDEX["has_cf"]] = random.random(rows) > 0.2
    features[:, INDEX["history_events"]] = np.repeat(np.log1p(random.integers(1, 200, LISTS)), SIZE)
    worth = (
        2 * features[:, INDEX["als_score"]] + features[:, INDEX["lm_best"]] - features[:, INDEX["aligned_text_place"]]
    )
    noisy = (worth + 0.3 * random.normal(size=rows)).reshape(LISTS, SIZE)
    labels = (noisy >= np.sort(noisy, axis=1)[:, [-4]]).astype(np.float32).ravel()
    features[random.random(features.shape) < 0.05] = np.nan
    features[:, INDEX["has_cf"]] = np.nan_to_num(features[:, INDEX["has_cf"]])
    sizes = np.full(LISTS, SIZE, dtype=np.int64)
    return RankingLists(features, labels, sizes, np.ones(LISTS, dtype=np.float32))


class TestLinear(FusionFunctionContract):
    make = LinearFusion
    make_lists = staticmethod(make_lists)
    names = NAMES


class TestGbdt(FusionFunctionContract):
    make = GbdtFusion
    make_lists = staticmethod(make_lists)
    names = NAMES


def test_every_registered_fusion_is_under_contract():
    assert set(FUSIONS.values()) == {TestLinear.make, TestGbdt.make}


def test_fusions_that_share_a_part_learn_what_they_learn_alone():
    train, validation = make_lists(1), make_lists(2)
    together = new_fusions(["gbdt", "linear"])
    alone = {"gbdt": GbdtFusion(), "linear": LinearFusion()}
    for fusions in (together, alone):
        for fusion in fusions.values():
            fusion.fit(train, validation, NAMES)
        for fusion in fusions.values():
            fusion.refit(validation, NAMES)
    assert list(together) == ["gbdt", "linear"]
    for name, fusion in together.items():
        np.testing.assert_array_equal(fusion.predict(train.features), alone[name].predict(train.features))
        bias, parts = fusion.contributions(train.features[:20])
        np.testing.assert_allclose(bias + parts.sum(axis=1), fusion.predict(train.features[:20]), rtol=1e-4, atol=1e-5)


def test_a_fusion_that_does_not_exist_is_named():
    with pytest.raises(NotFound, match="gbdt, linear"):
        new_fusions(["linear", "magic"])
