"""Features from what is known of the items: categories, number attributes, popularity."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.sources import place_in_list

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.features.profile import UserProfile
    from services.ranker.items.arrays import F32, Rows
    from services.ranker.items.table import ItemTable

PRIOR_LIKES = 5.0
"""Likes at the usual categories that every user is given."""
PRIOR_RATINGS = 3.0
RECENT_LIKES = 5
POPULARITY_LIKES = 20
"""Newest likes whose popularity an item's is compared with."""
SECONDS_PER_DAY = 86_400
SECONDS_PER_YEAR = 365.25 * SECONDS_PER_DAY
QUARTER_S = 90 * SECONDS_PER_DAY

_NAN = np.float32(np.nan)


def category_features(
    table: ItemTable, profile: UserProfile, session: Sequence[str], rows: Rows, columns: dict[str, F32]
) -> None:
    """Adds what the item's categories say."""
    width, _ = table.attributes.widths
    own = table.attributes.categories(rows, width)
    count = own.sum(axis=1)
    columns["category_count"] = count
    liked = table.attributes.categories(table.find(profile.liked), width)
    usual = table.usual_categories(width)
    prior = PRIOR_LIKES * usual
    taste = np.log((liked.sum(axis=0) + prior + 0.05) / ((len(liked) + PRIOR_LIKES) * usual + 0.05))
    missing = np.full(len(rows), _NAN, dtype=np.float32)
    summed = own @ taste.astype(np.float32) if len(liked) else missing
    columns["category_taste"] = summed
    columns["category_taste_mean"] = summed / np.maximum(count, 1)
    columns["category_rating"] = columns["category_session"] = missing
    if session:
        seen = table.attributes.categories(table.find(session), width).mean(axis=0)
        columns["category_session"] = own @ seen / np.maximum(count, 1)
    if profile.rated:
        ratings = np.array([rating for _, rating in profile.rated], dtype=np.float32)
        rated = table.attributes.categories(table.find([item_id for item_id, _ in profile.rated]), width)
        above = ((ratings - ratings.mean()) @ rated) / (rated.sum(axis=0) + PRIOR_RATINGS)
        columns["category_rating"] = own @ above / np.maximum(count, 1)


def number_features(
    table: ItemTable, profile: UserProfile, at_second: int, rows: Rows, columns: dict[str, F32]
) -> None:
    """Adds what the item's number attributes say, the year first."""
    _, width = table.attributes.widths
    own = table.attributes.numbers(rows, width)
    liked = table.attributes.numbers(table.find(profile.liked), width)
    year = own[:, 0]
    columns["year"] = year
    asked = 1970.0 + at_second / SECONDS_PER_YEAR
    columns["age"] = (asked - year).astype(np.float32)
    columns["year_distance"] = np.abs(year - _mean(liked[:, 0]))
    columns["year_distance_recent"] = np.abs(year - _mean(liked[-RECENT_LIKES:, 0]))
    means = np.array([_mean(liked[:, column]) for column in range(width)], dtype=np.float32)
    distances = np.abs(own - means) / table.number_spread(width)
    known = ~np.isnan(distances)
    total = np.where(known, distances, 0).sum(axis=1)
    nearby = np.where(known.any(axis=1), total / np.maximum(known.sum(axis=1), 1), _NAN)
    columns["number_distance"] = nearby.astype(np.float32)


def popularity_features(
    table: ItemTable, profile: UserProfile, at_second: int, rows: Rows, columns: dict[str, F32]
) -> None:
    """Adds how many people liked the item: in all, lately, and against what the user usually likes."""
    counts, at, year = table.popularity, at_second, int(SECONDS_PER_YEAR)
    positives = np.log1p(counts.take(counts.positives, rows))
    columns["popularity"] = positives
    columns["popularity_place"] = place_in_list(positives)
    columns["popularity_first_steps"] = np.asarray(positives / (1 + len(profile.liked)), dtype=np.float32)
    starts = (at - QUARTER_S, at - year, at - 3 * year, 0)
    in_quarter, in_year, in_three, before = np.log1p(counts.within(rows, starts, at))
    columns["popularity_quarter"] = in_quarter
    columns["popularity_trend"] = in_quarter - np.log1p(np.expm1(in_year) / 4)
    columns["popularity_year"] = in_year
    columns["popularity_year_place"] = place_in_list(in_year)
    columns["popularity_three_years"] = in_three
    columns["popularity_before"] = before
    columns["events"] = np.log1p(counts.take(counts.events, rows))
    columns["mean_rating"] = counts.mean_rating(rows)
    liked = np.log1p(counts.take(counts.positives, table.find(profile.liked[-POPULARITY_LIKES:])))
    columns["popularity_distance"] = np.asarray(positives - _mean(liked), dtype=np.float32)
    first, last = counts.first_and_last(rows, at)
    columns["since_liked"] = np.log1p((at - last) / SECONDS_PER_DAY).astype(np.float32)
    columns["days_known"] = np.log1p((at - first) / SECONDS_PER_DAY).astype(np.float32)


def _mean(values: F32) -> np.float32:
    known = values[~np.isnan(values)]
    return np.float32(known.mean()) if len(known) else _NAN
