"""Computes the registry's features for one user and n candidates, vectorised.

Training and serving call the same function; everything it reads is in `FeatureInputs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.items import category_features, number_features, popularity_features
from services.ranker.features.language import JudgedVectors, judged_features, session_feature, text_features
from services.ranker.features.registry import LANGUAGE_MODEL, NAMES
from services.ranker.features.sources import merge_places, source_features
from services.ranker.fusion.base import RankingInput
from shared.data.nouns import Temperature

if TYPE_CHECKING:
    from services.ranker.features.profile import TextProfile, UserProfile
    from services.ranker.items.arrays import F32
    from services.ranker.items.table import ItemTable
    from services.ranker.nouns import CandidateTable

_NAN = np.float32(np.nan)


@dataclass(frozen=True)
class FeatureInputs:
    """What features are computed from. `at_second` is the time of the question; `texts` None: no text profile.

    `language_model` False leaves out everything that the embedding service takes part in.
    """

    table: ItemTable
    candidates: CandidateTable
    profile: UserProfile
    texts: TextProfile | None
    at_second: int
    language_model: bool = True


def ranking_input(inputs: FeatureInputs) -> RankingInput:
    """Returns what fusion functions read: the features, and the vectors of the candidates and of the history."""
    table, profile, at = inputs.table, inputs.profile, inputs.at_second
    rows = table.find(inputs.candidates.item_ids)
    vectors, found = table.centred(rows)
    judged = JudgedVectors.of(table, profile)
    session = profile.session(at)
    columns: dict[str, F32] = {}
    source_features(inputs.candidates, columns)
    text_features(inputs.texts, vectors, found, columns)
    judged_features(judged, vectors, found, columns)
    near_now, known_now = table.centred(table.find(session))
    columns["lm_session"] = session_feature(near_now[known_now], vectors, found)
    category_features(table, profile, session, rows, columns)
    number_features(table, profile, at, rows, columns)
    popularity_features(table, profile, at, rows, columns)
    merge_places(columns)
    _history_features(inputs, columns)
    if not inputs.language_model:
        columns.update(dict.fromkeys(LANGUAGE_MODEL, np.full(len(rows), _NAN, dtype=np.float32)))
        return RankingInput.plain(_stacked(columns))
    return RankingInput(_stacked(columns), vectors, judged.vectors, judged.weights)


def compute(inputs: FeatureInputs) -> F32:
    """Returns the features: float32 (n, len(NAMES)), NaN where missing, columns in the registry's order."""
    return ranking_input(inputs).features


def _stacked(columns: dict[str, F32]) -> F32:
    return np.stack([columns[name] for name in NAMES], axis=1).astype(np.float32, copy=False)


def _history_features(inputs: FeatureInputs, columns: dict[str, F32]) -> None:
    profile, at = inputs.profile, inputs.at_second
    count = len(inputs.candidates.item_ids)
    ratings = [rating for _, rating in profile.rated]
    values = {
        "history_events": np.log1p(profile.events),
        "history_likes": np.log1p(len(profile.liked)),
        "history_like_share": len(profile.liked) / profile.events if profile.events else np.nan,
        "history_mean_rating": float(np.mean(ratings)) if ratings else np.nan,
        "temperature": profile.temperature - Temperature.COLD,
        "since_last_event": np.log1p(profile.hours_since(at)),
        "session_events": np.log1p(profile.session_events(at)),
    }
    for name, value in values.items():
        columns[name] = np.full(count, value, dtype=np.float32)
