"""Catalogue coverage at k: a metric of a whole run, not of a query."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


def distinct_items(rankings: Iterable[Sequence[str]], k: int) -> int:
    """Returns how many different items stand in the first k places of any ranking."""
    return len({item for ranking in rankings for item in ranking[:k]})


def coverage(rankings: Iterable[Sequence[str]], k: int, catalogue_size: int) -> float:
    """Returns |union of the first k places of all rankings| / catalogue size.

    Source: Ge, Delgado-Battenfeld, Jannach, "Beyond accuracy: evaluating recommender systems by coverage and
    serendipity", RecSys (2010), catalogue coverage.
    """
    return distinct_items(rankings, k) / catalogue_size
