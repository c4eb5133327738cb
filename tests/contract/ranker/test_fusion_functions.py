"""Every fusion function keeps the contract."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import ListVectors, RankingLists
from services.ranker.fusion.deep import DeepFusion, DeepParameters
from services.ranker.fusion.dot import DotFusion
from services.ranker.fusion.ensemble import EnsembleFusion
from services.ranker.fusion.gbdt import GbdtFusion
from services.ranker.fusion.linear import LinearFusion
from services.ranker.fusion.registry import FUSIONS, new_fusions
from services.ranker.fusion.svm import SvmFusion
from services.ranker.fusion.svm_rbf import SvmRbfFusion
from shared.errors import NotFound
from shared.testing.fusion_function import FusionFunctionContract

LISTS, SIZE, DIM, HISTORY = 40, 30, 8, 6


@cache
def make_lists(seed: int) -> RankingLists:
    random = np.random.default_rng(seed)
    rows = LISTS * SIZE
    features = random.normal(size=(rows, len(NAMES))).astype(np.float32)
    features[:, INDEX["has_cf"]] = random.random(rows) > 0.2
    features[:, INDEX["history_events"]] = np.repeat(np.log1p(random.integers(1, 200, LISTS)), SIZE)
    features[:, INDEX["popularity"]] = np.log1p(random.integers(0, 300, rows))
    worth = (
        2 * features[:, INDEX["als_score"]]
        + features[:, INDEX["lm_best"]]
        - features[:, INDEX["aligned_text_place"]]
        + features[:, INDEX["aligned_text_score"]]
    )
    noisy = (worth + 0.3 * random.normal(size=rows)).reshape(LISTS, SIZE)
    labels = (noisy >= np.sort(noisy, axis=1)[:, [-4]]).astype(np.float32).ravel()
    features[random.random(features.shape) < 0.05] = np.nan
    features[:, INDEX["has_cf"]] = np.nan_to_num(features[:, INDEX["has_cf"]])
    bank = random.normal(size=(50, DIM)).astype(np.float32)
    bank /= np.linalg.norm(bank, axis=1, keepdims=True)
    vectors = ListVectors(
        bank,
        random.integers(-1, 50, rows).astype(np.int32),
        random.integers(-1, 50, (LISTS, HISTORY)).astype(np.int32),
        random.normal(size=(LISTS, HISTORY)).astype(np.float32),
    )
    rating = np.where(random.random(rows) < 0.1, 3 + labels, np.nan).astype(np.float32)
    sizes = np.full(LISTS, SIZE, dtype=np.int64)
    return RankingLists(features, labels, sizes, np.ones(LISTS, dtype=np.float32), vectors, {"rating": rating})


class OnMadeLists(FusionFunctionContract):
    make_lists = staticmethod(make_lists)
    names = NAMES


class TestDot(OnMadeLists):
    make = DotFusion
    in_order = 0.7


class TestLinear(OnMadeLists):
    make = LinearFusion


class TestSvm(OnMadeLists):
    make = SvmFusion


class TestSvmRbf(OnMadeLists):
    make = SvmRbfFusion


class TestGbdt(OnMadeLists):
    make = GbdtFusion


class TestDeep(OnMadeLists):
    make = staticmethod(lambda: DeepFusion(parameters=DeepParameters(epochs=2)))


class TestEnsemble(OnMadeLists):
    make = staticmethod(lambda: EnsembleFusion({"linear": LinearFusion(), "svm_rbf": SvmRbfFusion()}))


del OnMadeLists


def test_every_registered_fusion_is_under_contract():
    tested = {TestDot, TestLinear, TestSvm, TestSvmRbf, TestGbdt, TestDeep, TestEnsemble}
    assert set(FUSIONS.values()) == {type(one.make()) for one in tested}


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
        for one in train.inputs():
            np.testing.assert_array_equal(fusion.predict(one), alone[name].predict(one))


def test_a_fusion_that_does_not_exist_is_named():
    with pytest.raises(NotFound, match="gbdt, linear, svm"):
        new_fusions(["linear", "magic"])
