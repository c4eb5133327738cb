"""What the language model reads of an item: one template, so that every service embeds the same text."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.data.nouns import Item

MAX_TEXT_CHARACTERS = 4_000
"""Encoders read some hundred tokens; what comes after is cut before it travels."""


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
