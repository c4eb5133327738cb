"""A sentence for people, from templates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ranker.explain.reasons import BEHAVIOUR
from services.ranker.features.registry import POPULARITY

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from services.ranker.nouns import HistoryReason

MAX_NAMED = 2


def sentence_of(
    history: Sequence[HistoryReason], groups: Mapping[str, float], *, is_new: bool, has_scores: bool
) -> str:
    """Returns why a result is shown, in a sentence."""
    # Two items may have one title: a film and its second edition.
    named = list(dict.fromkeys(reason.title or reason.item_id for reason in history))[:MAX_NAMED]
    liked = " and ".join(named)
    if is_new and named:
        return f"New, and close to {liked} in what it is about."
    if named and history[0].kind == BEHAVIOUR:
        return f"People who liked {liked} liked this."
    if named:
        return f"It is close to {liked} in what it is about."
    if has_scores and groups.get(POPULARITY, 0.0) <= 0 and groups:
        strongest = max(groups, key=lambda name: groups[name])
        return f"It ranks high by its {_WORDS.get(strongest, strongest)}."
    return "It is popular with many people."


_WORDS = {"cf": "fit to what people like you chose", "text": "description and categories", "context": "time and year"}
