"""Both fusion functions keep the contract."""

from __future__ import annotations

import numpy as np

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import RankingLists
from services.ranker.fusion.gbdt import GbdtFusion
from services.ranker.fusion.linear import LinearFusion
from services.ranker.fusion.registry import FUSIONS
from shared.testing.fusion_function import FusionFunctionContract

LISTS, SIZE = 60, 40


def make_lists(seed: int) -> RankingLists:
    random = np.random.default_rng(seed)
    rows = LISTS * SIZE
    features = random.normal(size=(rows, len(NAMES))).astype(np.float32)
    features[:, INDEX["has_cf"]] = random.random(rows) > 0.2
    features[:, INDEX["history_events"]] = np.repeat(np.log1p(random.integers(1, 200, LISTS)), SIZE)
    worth = 2 * features[:, INDEX["als_score"]] + features[:, INDEX["lm_best"]] - features[:, INDEX["text_place"]]
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
