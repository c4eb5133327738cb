"""The registry of features: every fusion model is trained on exactly these, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

CF: Final = "cf"
TEXT: Final = "text"
POPULARITY: Final = "popularity"
CONTEXT: Final = "context"


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. It is NaN where `missing` says so; every model knows how to read that."""

    name: str
    group: str
    unit: str
    description: str
    missing: str = "never"


def _source(name: str, group: str, what: str) -> tuple[Feature, ...]:
    missing = f"the {name} source does not know the item"
    return (
        Feature(f"{name}_score", group, "source's own score", f"{what}: the score", missing),
        Feature(f"{name}_relative", group, "standard deviations", f"{what}: the score within this list", missing),
        Feature(f"{name}_place", group, "log(1 + place)", f"{what}: the place within this list", missing),
    )


SOURCE_FEATURES: Final[dict[str, tuple[str, str]]] = {
    "als": (CF, "Matrix factorisation"),
    "als_recent": (CF, "Matrix factorisation, newest likes"),
    "item_item": (CF, "Item-item model"),
    "item_item_recent": (CF, "Item-item model, newest likes"),
    "item_item_decayed": (CF, "Item-item model, older likes weigh less"),
    "aligned_text": (TEXT, "Text and attributes mapped to the CF space"),
    "aligned_text_recent": (TEXT, "Text and attributes mapped to the CF space, newest likes"),
}
"""Sources of candidates that are read, with group and meaning; a source that is not loaded is missing."""

NO_TEXTS = "no text profile, or the item has no vector"
NO_LIKES = "nothing liked yet"

FEATURES: Final[tuple[Feature, ...]] = (
    *(one for name, (group, what) in SOURCE_FEATURES.items() for one in _source(name, group, what)),
    Feature("has_cf", CF, "0 or 1", "A CF source knows the item"),
    Feature("merged_places", CF, "sum of 1 / (60 + place)", "Reciprocal rank fusion of all places within this list"),
    Feature("lm_mean", TEXT, "cosine", "Language model: mean similarity to the liked texts", NO_TEXTS),
    Feature("lm_recent", TEXT, "cosine", "Language model: similarity to the liked texts, newest first", NO_TEXTS),
    Feature("lm_best", TEXT, "cosine", "Language model: similarity to the nearest liked text", NO_TEXTS),
    Feature("lm_last", TEXT, "cosine", "Language model: similarity to the newest liked text", NO_TEXTS),
    Feature("category_taste", TEXT, "log odds", "Categories: how much more often liked than usual, summed", NO_LIKES),
    Feature("category_taste_mean", TEXT, "log odds", "Categories: the same, mean over the item's categories", NO_LIKES),
    Feature("category_rating", TEXT, "rating", "Categories: the user's ratings above their own mean", "nothing rated"),
    Feature("category_count", TEXT, "categories", "Categories of the item"),
    Feature("year_distance", TEXT, "years", "Years between the item and the mean liked one", "a year is not known"),
    Feature("year_distance_recent", TEXT, "years", "The same for the five newest likes", "a year is not known"),
    Feature("number_distance", TEXT, "standard deviations", "Number attributes: distance to the liked mean", NO_LIKES),
    Feature("popularity", POPULARITY, "log(1 + positives)", "Positive events of the item"),
    Feature("popularity_place", POPULARITY, "log(1 + place)", "The place by popularity within this list"),
    Feature("popularity_first_steps", POPULARITY, "log per like", "Popularity over 1 + the user's likes"),
    Feature("popularity_year", POPULARITY, "log(1 + positives)", "Positive events in the year before"),
    Feature("popularity_year_place", POPULARITY, "log(1 + place)", "The place by that within this list"),
    Feature("popularity_three_years", POPULARITY, "log(1 + positives)", "Positive events in the three years before"),
    Feature("popularity_before", POPULARITY, "log(1 + positives)", "Positive events before the time of the question"),
    Feature("events", POPULARITY, "log(1 + events)", "Events of the item"),
    Feature("mean_rating", POPULARITY, "rating", "Mean rating, drawn to the overall mean", "nothing is ever rated"),
    Feature("year", CONTEXT, "year", "When the item came out", "the year is not known"),
    Feature("age", CONTEXT, "years", "Years from then to the time of the question", "the year is not known"),
    Feature("history_events", CONTEXT, "log(1 + events)", "Events of the user"),
    Feature("history_likes", CONTEXT, "log(1 + likes)", "Likes of the user"),
    Feature("history_like_share", CONTEXT, "share", "Likes among the user's events", "no events"),
    Feature("history_mean_rating", CONTEXT, "rating", "Mean rating that the user gives", "nothing rated"),
)

NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
INDEX: Final[dict[str, int]] = {name: place for place, name in enumerate(NAMES)}
LANGUAGE_MODEL: Final[tuple[str, ...]] = (
    *(name for name in NAMES if name.startswith("aligned_text")),
    "lm_mean",
    "lm_recent",
    "lm_best",
    "lm_last",
)
"""What is missing while the embedding service is: cf_only."""
CF_SOURCES: Final[tuple[str, ...]] = tuple(name for name, (group, _) in SOURCE_FEATURES.items() if group == CF)
"""Sources that know an item only by its events."""
