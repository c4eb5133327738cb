"""What the language model reads of an item and of a user: one rule, so that every service embeds the same texts."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.data.nouns import Item

MAX_TEXT_CHARACTERS = 4_000
"""Encoders read some hundred tokens; what comes after is cut before it travels."""

HALF_LIFE_TEXTS = 10.0
"""A text of a user's profile counts half as much as one that came this many texts later."""


def item_title(item: Item) -> str:
    """Returns the title, or the beginning of the text where there is no title; may be empty."""
    return (item.title.strip() or item.text.strip())[:MAX_TEXT_CHARACTERS]


def item_text(item: Item) -> str:
    """Returns "title (year). category, category. text", absent parts left out; may be empty.

    The year is the numeric attribute "year", when there is one.
    """
    head = item.title.strip()
    year = item.attributes.get("year")
    if head and isinstance(year, int | float) and not isinstance(year, bool):
        head = f"{head} ({year:.0f})"
    parts = (head, ", ".join(item.categories), item.text.strip())
    return ". ".join(part for part in parts if part)[:MAX_TEXT_CHARACTERS]


def profile_texts(likes: Sequence[str], reviews: Sequence[str], limit: int) -> list[str]:
    """Returns the texts of a text profile, oldest first: newest reviews in up to a quarter of the places, then likes.

    `likes` are the texts of liked items, oldest first, empty where not known.
    """
    own = list(reviews[-max(limit // 4, 1) :])
    liked = [text for text in likes if text][-(limit - len(own)) :] if limit > len(own) else []
    return own + liked


def recency_weights(count: int) -> list[float]:
    """Returns the weights of a profile's texts, oldest first: halved every `HALF_LIFE_TEXTS` texts back, sum 1."""
    weights = [2.0 ** (-age / HALF_LIFE_TEXTS) for age in range(count - 1, -1, -1)]
    total = sum(weights)
    return [weight / total for weight in weights]
