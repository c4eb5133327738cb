"""The linear model, and trees that correct it: LambdaMART (Burges 2010) by LightGBM, started from the linear scores.

The linear part orders what the training lists are thin on (new users, new items); the trees add what is not linear.
Contributions are the linear ones plus the trees' TreeSHAP values (Lundberg et al. 2020).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, ClassVar

import lightgbm
import numpy as np

from services.ranker.fusion.linear import LinearFusion
from shared.errors import CorruptData

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from services.ranker.fusion.base import RankingInput, RankingLists
    from services.ranker.items.arrays import F32

FILE = "gbdt.txt"
META = "gbdt.json"
PARAMETERS: Mapping[str, Any] = {
    "objective": "lambdarank",
    "metric": "ndcg",
    "eval_at": [10],
    "learning_rate": 0.15,
    "num_leaves": 15,
    # TreeSHAP takes time in the square of the depth.
    "max_depth": 4,
    "min_data_in_leaf": 200,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 10.0,
    "lambdarank_truncation_level": 20,
    "max_bin": 63,
    "bin_construct_sample_cnt": 30_000,
    "verbosity": -1,
    "seed": 1,
    "deterministic": True,
    "force_row_wise": True,
}
MAX_TREES = 80
PATIENCE = 20
"""Trees without a better validation NDCG@10 after which the training stops."""


class GbdtFusion:
    """See the module's text. Missing values take the branch that training found best for them."""

    name: ClassVar[str] = "gbdt"
    description: ClassVar[str] = "Gradient boosted trees on top of the linear model, LambdaMART (LightGBM)"

    def __init__(self, *, linear: LinearFusion | None = None, threads: int = 1, max_trees: int = MAX_TREES) -> None:
        """`linear` may be shared with the variant of that name: it then learns once from the same lists."""
        self._threads = threads
        self._max_trees = max_trees
        self._trees = max_trees
        self._linear = linear or LinearFusion()
        self._booster: lightgbm.Booster | None = None
        self._binned: lightgbm.Dataset | None = None
        self._lists = 0

    def fit(self, train: RankingLists, validation: RankingLists, names: Sequence[str]) -> None:
        """Learns the linear part, then trees until the validation NDCG@10 no longer rises."""
        self._linear.fit(train, validation, names)
        data = self._binned = self._dataset(train, names)
        self._booster = lightgbm.train(
            self._parameters,
            data,
            self._max_trees,
            valid_sets=[self._dataset(validation, names, reference=data)],
            callbacks=[lightgbm.early_stopping(PATIENCE, verbose=False)],
        )
        self._trees = self._booster.best_iteration or self._max_trees

    def refit(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Learns both parts from all lists, as many trees and the same bins as `fit` found best."""
        self._linear.refit(lists, names)
        data = self._dataset(lists, names, reference=self._binned)
        self._booster = lightgbm.train(self._parameters, data, self._trees)
        self._lists = len(lists.sizes)

    def update(self, lists: RankingLists, names: Sequence[str]) -> None:
        """Updates the linear part, then the leaves' values; the trees keep their shape."""
        self._linear.update(lists, names)
        self._booster = self._model.refit(
            lists.features,
            lists.labels,
            decay_rate=self._lists / (self._lists + len(lists.sizes)),
            weight=lists.weights[lists.list_of_row],
            group=lists.sizes,
            init_score=self._linear.model.predict(lists.features).astype(np.float64),
        )
        self._lists += len(lists.sizes)

    def predict(self, inputs: RankingInput) -> F32:
        """Returns scores; see `FusionFunction`."""
        trees = self._model.predict(inputs.features, num_threads=1)
        return np.asarray(self._linear.predict(inputs) + trees, dtype=np.float32)

    def contributions(self, inputs: RankingInput) -> tuple[float, F32]:
        """Returns the trees' expected score, and TreeSHAP values plus linear contributions."""
        bias, linear = self._linear.contributions(inputs)
        trees = np.asarray(self._model.predict(inputs.features, pred_contrib=True, num_threads=1), dtype=np.float64)
        own = float(trees[0, -1]) if len(trees) else 0.0
        return bias + own, (linear + trees[:, :-1]).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes the linear model's file, and the trees in LightGBM's own text format."""
        self._linear.save(folder)
        self._model.save_model(str(folder / FILE), num_iteration=self._trees)
        (folder / META).write_text(json.dumps({"lists": self._lists}))

    @classmethod
    def load(cls, folder: Path) -> GbdtFusion:
        """Reads what `save` wrote; see `FusionFunction`."""
        own = cls()
        own._linear = LinearFusion.load(folder)
        try:
            own._booster = lightgbm.Booster(model_file=str(folder / FILE))
            own._lists = int(json.loads((folder / META).read_text())["lists"])
        except (lightgbm.basic.LightGBMError, OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptData(f"{FILE} cannot be read") from error
        return own

    @property
    def _parameters(self) -> dict[str, Any]:
        return {**PARAMETERS, "num_threads": self._threads}

    @property
    def _model(self) -> lightgbm.Booster:
        if self._booster is None:
            raise CorruptData("the gbdt fusion has not been fitted")
        return self._booster

    def _dataset(
        self, lists: RankingLists, names: Sequence[str], reference: lightgbm.Dataset | None = None
    ) -> lightgbm.Dataset:
        return lightgbm.Dataset(
            lists.features,
            lists.labels,
            group=lists.sizes,
            weight=lists.weights[lists.list_of_row],
            init_score=self._linear.model.predict(lists.features).astype(np.float64),
            feature_name=list(names),
            reference=reference,
        )
