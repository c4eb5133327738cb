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
    "als_tried": (CF, "Matrix factorisation, all that was tried"),
    "item_item": (CF, "Item-item model"),
    "item_item_recent": (CF, "Item-item model, newest likes"),
    "item_item_decayed": (CF, "Item-item model, older likes weigh less"),
    "item_knn": (CF, "Items often liked together"),
    "user_knn": (CF, "Liked by users who like the same"),
    "sequential": (CF, "What follows the newest events"),
    "aligned_text": (TEXT, "Text and attributes mapped to the CF space"),
    "aligned_text_recent": (TEXT, "Text and attributes mapped to the CF space, newest likes"),
    "content": (TEXT, "Nearness by text alone"),
    "two_tower": (TEXT, "Two towers: the history against text, attributes and id"),
    "trending": (POPULARITY, "Likes, the newer the more"),
}
"""Sources of candidates that are read, with group and meaning. One that candidates does not ask for every call
(`CANDIDATES_DEFAULT_SOURCES`), or has not trained, is missing: its columns are NaN."""

NO_TEXTS = "no text profile, or the item has no vector"
NO_LIKES = "nothing liked yet"
NO_JUDGED = "no judged item with a vector, or the item has none"
NO_SESSION = "no event in the half hour before"
NO_POSITIVE = "the item has no positive event"

FEATURES: Final[tuple[Feature, ...]] = (
    *(one for name, (group, what) in SOURCE_FEATURES.items() for one in _source(name, group, what)),
    Feature("has_cf", CF, "0 or 1", "A CF source knows the item"),
    Feature("merged_places", CF, "sum of 1 / (60 + place)", "Reciprocal rank fusion of all places within this list"),
    Feature("lm_mean", TEXT, "cosine", "Language model: mean similarity to the liked texts", NO_TEXTS),
    Feature("lm_recent", TEXT, "cosine", "Language model: similarity to the liked texts, newest first", NO_TEXTS),
    Feature("lm_best", TEXT, "cosine", "Language model: similarity to the nearest liked text", NO_TEXTS),
    Feature("lm_last", TEXT, "cosine", "Language model: similarity to the newest liked text", NO_TEXTS),
    Feature(
        "lm_liked", TEXT, "cosine", "Language model: similarity to the liked items, by rating and recency", NO_JUDGED
    ),
    Feature("lm_disliked", TEXT, "cosine", "Language model: the same to the disliked items", "nothing disliked"),
    Feature("lm_affinity", TEXT, "cosine", "Language model: to the liked items less to the disliked", NO_JUDGED),
    Feature("lm_disliked_best", TEXT, "cosine", "Language model: the nearest disliked item", "nothing disliked"),
    Feature("lm_closest", TEXT, "cosine", "Language model: mean of the three nearest liked items", NO_JUDGED),
    Feature("lm_closest_age", TEXT, "log(1 + items)", "Judged items since the nearest liked one", NO_JUDGED),
    Feature("lm_attention", TEXT, "strength", "Judgement of the nearest judged items, by nearness", NO_JUDGED),
    Feature(
        "lm_review", TEXT, "cosine", "Language model: similarity to the nearest of the user's reviews", "no reviews"
    ),
    Feature("lm_session", TEXT, "cosine", "Language model: similarity to the session's items", NO_SESSION),
    Feature("category_taste", TEXT, "log odds", "Categories: how much more often liked than usual, summed", NO_LIKES),
    Feature("category_taste_mean", TEXT, "log odds", "Categories: the same, mean over the item's categories", NO_LIKES),
    Feature("category_rating", TEXT, "rating", "Categories: the user's ratings above their own mean", "nothing rated"),
    Feature("category_count", TEXT, "categories", "Categories of the item"),
    Feature("category_session", TEXT, "share", "Categories: shared with the session's items", NO_SESSION),
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
    Feature("popularity_quarter", POPULARITY, "log(1 + positives)", "Positive events in the 90 days before"),
    Feature("popularity_trend", POPULARITY, "log ratio", "Positive events of 90 days against the usual of the year"),
    Feature("popularity_distance", POPULARITY, "log ratio", "Popularity against that of the newest likes", NO_LIKES),
    Feature("since_liked", POPULARITY, "log(1 + days)", "Time since anybody's newest positive event", NO_POSITIVE),
    Feature("days_known", POPULARITY, "log(1 + days)", "Time since the first positive event", NO_POSITIVE),
    Feature("events", POPULARITY, "log(1 + events)", "Events of the item"),
    Feature("mean_rating", POPULARITY, "rating", "Mean rating, drawn to the overall mean", "nothing is ever rated"),
    Feature("year", CONTEXT, "year", "When the item came out", "the year is not known"),
    Feature("age", CONTEXT, "years", "Years from then to the time of the question", "the year is not known"),
    Feature("history_events", CONTEXT, "log(1 + events)", "Events of the user"),
    Feature("history_likes", CONTEXT, "log(1 + likes)", "Likes of the user"),
    Feature("history_like_share", CONTEXT, "share", "Likes among the user's events", "no events"),
    Feature("history_mean_rating", CONTEXT, "rating", "Mean rating that the user gives", "nothing rated"),
    Feature("temperature", CONTEXT, "0, 1 or 2", "Cold, warm or hot user"),
    Feature("since_last_event", CONTEXT, "log(1 + hours)", "Time since the user's newest event", "no events"),
    Feature("session_events", CONTEXT, "log(1 + events)", "Events of the user in the half hour before"),
)

NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)
INDEX: Final[dict[str, int]] = {name: place for place, name in enumerate(NAMES)}
LANGUAGE_MODEL: Final[tuple[str, ...]] = (
    *(name for name in NAMES if name.startswith(("aligned_text", "content", "two_tower", "lm_"))),
)
"""What is missing while the embedding service is: cf_only."""
CF_SOURCES: Final[tuple[str, ...]] = tuple(name for name, (group, _) in SOURCE_FEATURES.items() if group == CF)
"""Sources that know an item only by its events."""
