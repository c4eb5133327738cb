"""Computes the registry's features for one user and n candidates, vectorised.

Training and serving call the same function; everything it reads is in `FeatureInputs`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.registry import LANGUAGE_MODEL, NAMES, SOURCE_FEATURES

if TYPE_CHECKING:
    from services.ranker.features.profile import TextProfile, UserProfile
    from services.ranker.items.arrays import F32, Rows
    from services.ranker.items.table import ItemTable
    from services.ranker.nouns import CandidateTable

RRF_CONSTANT = 60.0
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""
PRIOR_LIKES = 5.0
"""Likes at the usual categories that every user is given."""
PRIOR_RATINGS = 3.0
RECENT_LIKES = 5
SECONDS_PER_YEAR = 365.25 * 86_400

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


def compute(inputs: FeatureInputs) -> F32:
    """Returns the features: float32 (n, len(NAMES)), NaN where missing, columns in the registry's order."""
    rows = inputs.table.find(inputs.candidates.item_ids)
    columns: dict[str, F32] = {}
    _source_features(inputs, columns)
    _language_model_features(inputs, rows, columns)
    _category_features(inputs, rows, columns)
    _number_features(inputs, rows, columns)
    _popularity_features(inputs, rows, columns)
    _merge_places(columns)
    _history_features(inputs, columns)
    if not inputs.language_model:
        for name in LANGUAGE_MODEL:
            columns[name] = np.full(len(rows), _NAN, dtype=np.float32)
    return np.stack([columns[name] for name in NAMES], axis=1).astype(np.float32, copy=False)


def place_in_list(values: F32) -> F32:
    """Returns log(1 + place) of each value within the list: float32 (n,). The largest has place 0, equals share one."""
    keys = np.where(np.isnan(values), np.inf, -values)
    return np.log1p(np.searchsorted(np.sort(keys), keys)).astype(np.float32)


def relative_in_list(values: F32) -> F32:
    """Returns each value in standard deviations from the list's mean, NaN left out and kept: float32 (n,)."""
    known = values[~np.isnan(values)]
    if not len(known):
        return values
    spread = float(known.std())
    if spread < 1e-9:  # noqa: PLR2004 (smaller than any score's rounding)
        return np.where(np.isnan(values), _NAN, np.float32(0)).astype(np.float32)
    return np.asarray((values - known.mean()) / spread, dtype=np.float32)


def _source_features(inputs: FeatureInputs, columns: dict[str, F32]) -> None:
    count = len(inputs.candidates.item_ids)
    known = np.zeros(count, dtype=np.bool_)
    for name, (group, _) in SOURCE_FEATURES.items():
        score = inputs.candidates.scores.get(name)
        if score is None:
            score = np.full(count, _NAN, dtype=np.float32)
        columns[f"{name}_score"] = score
        columns[f"{name}_relative"] = relative_in_list(score)
        columns[f"{name}_place"] = np.where(np.isnan(score), _NAN, place_in_list(score)).astype(np.float32)
        if group == "cf":
            known |= ~np.isnan(score)
    columns["has_cf"] = known.astype(np.float32)


def _language_model_features(inputs: FeatureInputs, rows: Rows, columns: dict[str, F32]) -> None:
    missing = np.full(len(rows), _NAN, dtype=np.float32)
    texts = inputs.texts
    for name in ("lm_mean", "lm_recent", "lm_best", "lm_last"):
        columns[name] = missing
    if texts is None or inputs.table.vectors.dim != texts.vectors.shape[1]:
        return
    vectors, found = inputs.table.centred(rows)
    cosines = vectors @ texts.vectors.T
    cosines[~found] = _NAN
    columns["lm_mean"] = cosines.mean(axis=1)
    columns["lm_recent"] = np.asarray(cosines @ texts.weights, dtype=np.float32)
    columns["lm_best"] = cosines.max(axis=1)
    columns["lm_last"] = cosines[:, -1]


def _category_features(inputs: FeatureInputs, rows: Rows, columns: dict[str, F32]) -> None:
    table, profile = inputs.table, inputs.profile
    width, _ = table.attributes.widths
    own = table.attributes.categories(rows, width)
    count = own.sum(axis=1)
    columns["category_count"] = count
    liked = table.attributes.categories(table.find(profile.liked), width)
    usual = table.usual_categories(width)
    prior = PRIOR_LIKES * usual
    taste = np.log((liked.sum(axis=0) + prior + 0.05) / ((len(liked) + PRIOR_LIKES) * usual + 0.05))
    summed = own @ taste.astype(np.float32) if len(liked) else np.full(len(rows), _NAN, dtype=np.float32)
    columns["category_taste"] = summed
    columns["category_taste_mean"] = summed / np.maximum(count, 1)
    if not profile.rated:
        columns["category_rating"] = np.full(len(rows), _NAN, dtype=np.float32)
        return
    ratings = np.array([rating for _, rating in profile.rated], dtype=np.float32)
    rated = table.attributes.categories(table.find([item_id for item_id, _ in profile.rated]), width)
    above = (rated * (ratings - ratings.mean())[:, None]).sum(axis=0) / (rated.sum(axis=0) + PRIOR_RATINGS)
    columns["category_rating"] = own @ above / np.maximum(count, 1)


def _number_features(inputs: FeatureInputs, rows: Rows, columns: dict[str, F32]) -> None:
    table = inputs.table
    _, width = table.attributes.widths
    own = table.attributes.numbers(rows, width)
    liked = table.attributes.numbers(table.find(inputs.profile.liked), width)
    year = own[:, 0]
    columns["year"] = year
    asked = 1970.0 + inputs.at_second / SECONDS_PER_YEAR
    columns["age"] = (asked - year).astype(np.float32)
    columns["year_distance"] = np.abs(year - _mean(liked[:, 0]))
    columns["year_distance_recent"] = np.abs(year - _mean(liked[-RECENT_LIKES:, 0]))
    means = np.array([_mean(liked[:, column]) for column in range(width)], dtype=np.float32)
    distances = np.abs(own - means) / table.number_spread(width)
    known = ~np.isnan(distances)
    total = np.where(known, distances, 0).sum(axis=1)
    nearby = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), _NAN)
    columns["number_distance"] = nearby.astype(np.float32)


def _popularity_features(inputs: FeatureInputs, rows: Rows, columns: dict[str, F32]) -> None:
    counts = inputs.table.popularity
    at = inputs.at_second
    positives = np.log1p(counts.take(counts.positives, rows))
    columns["popularity"] = positives
    columns["popularity_place"] = place_in_list(positives)
    columns["popularity_first_steps"] = np.asarray(positives / (1 + len(inputs.profile.liked)), dtype=np.float32)
    year = int(SECONDS_PER_YEAR)
    in_year, in_three, before = np.log1p(counts.within(rows, (at - year, at - 3 * year, 0), at))
    columns["popularity_year"] = in_year
    columns["popularity_year_place"] = place_in_list(in_year)
    columns["popularity_three_years"] = in_three
    columns["popularity_before"] = before
    columns["events"] = np.log1p(counts.take(counts.events, rows))
    columns["mean_rating"] = counts.mean_rating(rows)


def _merge_places(columns: dict[str, F32]) -> None:
    merged = 1 / (RRF_CONSTANT + np.exp(columns["popularity_place"]))
    for name in ("als", "item_item", "aligned_text"):
        place = columns[f"{name}_place"]
        merged = merged + np.where(np.isnan(place), 0, 1 / (RRF_CONSTANT + np.exp(np.nan_to_num(place))))
    columns["merged_places"] = merged.astype(np.float32)


def _history_features(inputs: FeatureInputs, columns: dict[str, F32]) -> None:
    profile = inputs.profile
    count = len(inputs.candidates.item_ids)
    ratings = [rating for _, rating in profile.rated]
    values = {
        "history_events": np.log1p(profile.events),
        "history_likes": np.log1p(len(profile.liked)),
        "history_like_share": len(profile.liked) / profile.events if profile.events else np.nan,
        "history_mean_rating": float(np.mean(ratings)) if ratings else np.nan,
    }
    for name, value in values.items():
        columns[name] = np.full(count, value, dtype=np.float32)


def _mean(values: F32) -> np.float32:
    known = values[~np.isnan(values)]
    return np.float32(known.mean()) if len(known) else _NAN
