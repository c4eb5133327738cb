"""Features, then the fusion model; without a model, the order that candidates came in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.compute import FeatureInputs, ranking_input
from services.ranker.features.registry import CF, FEATURES, NAMES, TEXT
from services.ranker.fusion.base import Attending
from services.ranker.pipeline.call import POPULAR

if TYPE_CHECKING:
    from services.ranker.fusion.base import FusionFunction, RankingInput
    from services.ranker.items.arrays import F32
    from services.ranker.nouns import CandidateTable
    from services.ranker.pipeline.call import Call

STAGE = "score"

_IN_CF = np.array([feature.group == CF for feature in FEATURES])
_IN_TEXT = np.array([feature.group == TEXT for feature in FEATURES])


@dataclass(frozen=True)
class Scored:
    """Candidates with scores, float32 (n,). `inputs` is None when no fusion took part."""

    candidates: CandidateTable
    scores: F32
    inputs: RankingInput | None
    fusion: FusionFunction | None


@dataclass(frozen=True)
class Parts:
    """What makes the scores of n results: bias + the sum of a row of `values`, float32 (n, features), is the score.

    `attention`: float32 (n, m), how much of a network's attention each of the m judged items of the history got, in the
    order of `JudgedVectors`; None where the fusion attends to nothing.
    """

    bias: float
    values: F32
    features: F32
    attention: F32 | None = None

    @property
    def cf(self) -> F32:
        """What CF adds: float32 (n,)."""
        return np.asarray(self.values[:, _IN_CF].sum(axis=1), dtype=np.float32)

    @property
    def text(self) -> F32:
        """What the language model and attributes add: float32 (n,)."""
        return np.asarray(self.values[:, _IN_TEXT].sum(axis=1), dtype=np.float32)


def score(call: Call, candidates: CandidateTable) -> Scored:
    """Returns the candidates with the fusion model's scores.

    Raises:
        NotFound: the question's variant is not loaded.

    """
    with call.stages.stage(STAGE):
        fallback = call.degraded.get("candidates")
        if call.model is None or (fallback is not None and fallback.fallback == POPULAR):
            return Scored(candidates, candidates.merged, None, None)
        inputs = FeatureInputs(
            table=call.table,
            candidates=candidates,
            profile=call.user(),
            texts=call.texts,
            at_second=call.at_second,
            language_model=call.language_model,
        )
        fusion = call.model.fusion(call.question.variant)
        read = ranking_input(inputs)
        scores = fusion.predict(read) if len(read) else np.zeros(0, dtype=np.float32)
        return Scored(candidates, scores, read, fusion)


def parts_of(scored: Scored, places: list[int]) -> Parts:
    """Returns what makes the scores of the candidates at `places`; without a fusion all of it is bias-free nothing."""
    if scored.fusion is None or scored.inputs is None or not places:
        empty = np.zeros((len(places), len(NAMES)), dtype=np.float32)
        return Parts(0.0, empty, np.full_like(empty, np.nan))
    chosen = scored.inputs.take(places)
    bias, values = scored.fusion.contributions(chosen)
    attention = scored.fusion.attention(chosen) if isinstance(scored.fusion, Attending) else None
    return Parts(bias, values, chosen.features, attention if attention is not None and attention.size else None)
