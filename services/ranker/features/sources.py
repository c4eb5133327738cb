"""Features from what the sources of candidates say: scores, and places within the list."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.registry import CF_SOURCES, SOURCE_FEATURES

if TYPE_CHECKING:
    from services.ranker.items.arrays import F32, Mask
    from services.ranker.nouns import CandidateTable

RRF_CONSTANT = 60.0
"""The constant of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""
MERGED = ("als", "item_item", "aligned_text")
"""Sources whose places are merged, with the place by popularity."""
SMALL_SPREAD = 1e-9
"""Smaller than any score's rounding."""

_NAN = np.float32(np.nan)


def source_features(candidates: CandidateTable, columns: dict[str, F32]) -> None:
    """Adds score, relative score and place of each source, and whether a CF source knows the item."""
    count = len(candidates.item_ids)
    known = np.zeros(count, dtype=np.bool_)
    missing = np.full(count, _NAN, dtype=np.float32)
    asked = [name for name in SOURCE_FEATURES if name in candidates.scores]
    for name in SOURCE_FEATURES:
        for column in ("score", "relative", "place"):
            columns[f"{name}_{column}"] = missing
    if asked and count:
        scores = np.stack([candidates.scores[name] for name in asked])
        nothing = np.isnan(scores)
        relative, places = relative_rows(scores, nothing), places_rows(scores, nothing)
        places[nothing] = _NAN
        for turn, name in enumerate(asked):
            columns[f"{name}_score"], columns[f"{name}_relative"] = scores[turn], relative[turn]
            columns[f"{name}_place"] = places[turn]
            if name in CF_SOURCES:
                known |= ~nothing[turn]
    columns["has_cf"] = known.astype(np.float32)


def merge_places(columns: dict[str, F32]) -> None:
    """Adds reciprocal rank fusion of the places within the list."""
    merged = 1 / (RRF_CONSTANT + np.exp(columns["popularity_place"]))
    for name in MERGED:
        merged = merged + np.nan_to_num(1 / (RRF_CONSTANT + np.exp(columns[f"{name}_place"])), nan=0.0)
    columns["merged_places"] = merged.astype(np.float32)


def place_in_list(values: F32) -> F32:
    """Returns log(1 + place) of each value within the list: float32 (n,). The largest has place 0, equals share one."""
    only: F32 = places_rows(values[None], np.isnan(values)[None])[0]
    return only


def places_rows(values: F32, nothing: Mask) -> F32:
    """Returns `place_in_list` of each row: float32 (rows, n); `nothing` are the NaN of `values`, which come last."""
    keys = np.where(nothing, np.float32(np.inf), -values)
    order = np.argsort(keys, axis=1)
    ordered = np.take_along_axis(keys, order, axis=1)
    first = np.zeros(keys.shape, dtype=np.int64)
    first[:, 1:] = np.where(ordered[:, 1:] != ordered[:, :-1], np.arange(1, keys.shape[1]), 0)
    places = np.empty(keys.shape, dtype=np.float32)
    np.put_along_axis(places, order, np.log1p(np.maximum.accumulate(first, axis=1)).astype(np.float32), axis=1)
    return places


def relative_in_list(values: F32) -> F32:
    """Returns each value in standard deviations from the list's mean, NaN left out and kept: float32 (n,)."""
    only: F32 = relative_rows(values[None], np.isnan(values)[None])[0]
    return only


def relative_rows(values: F32, nothing: Mask) -> F32:
    """Returns `relative_in_list` of each row: float32 (rows, n); `nothing` are the NaN of `values`."""
    counts = np.maximum((~nothing).sum(axis=1, keepdims=True), 1)
    means = np.where(nothing, 0, values).sum(axis=1, keepdims=True, dtype=np.float64) / counts
    away = values - means
    spread = np.sqrt((np.where(nothing, 0, away) ** 2).sum(axis=1, keepdims=True) / counts)
    return np.asarray(away / np.where(spread < SMALL_SPREAD, np.inf, spread), dtype=np.float32)
