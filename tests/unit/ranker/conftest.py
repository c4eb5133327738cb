"""Small real data: a catalogue, a table; and a whole recommender over small neighbours."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest

from services.ranker.items.table import ItemTable
from shared.data.nouns import Item

from .house import House, built
from .keeping import Clock
from .samples import RULES, rating


@pytest.fixture
async def house(tmp_path) -> House:
    return built(tmp_path)


@pytest.fixture
def items() -> list[Item]:
    return [
        Item("a", title="Alien", categories=("Horror", "Sci-Fi"), attributes={"year": 1979.0, "price": 3.0}),
        Item("b", title="Brazil", categories=("Sci-Fi",), attributes={"year": 1985.0}),
        Item("c", title="Casablanca", categories=("Drama", "Romance"), attributes={"year": 1942.0, "price": 5.0}),
        Item("d", title="Delicatessen", categories=("Comedy",)),
    ]


@pytest.fixture
def table(items) -> ItemTable:
    made = ItemTable(RULES)
    for item in items:
        made.put_item(item)
    for row, vector in enumerate(([1, 0, 0], [0.8, 0.6, 0], [0, 0, 1])):
        made.vectors.put(row, np.array(vector, dtype=np.float32))
    for user, item, value, day in (
        ("u", "a", 5, 0), ("v", "a", 4, 400), ("w", "a", 2, 800), ("u", "b", 4, 10), ("v", "c", 3, 20),
    ):  # fmt: skip
        made.put_event(rating(user, item, value, day))
    made.embedding_version = "e1"
    return made


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def kept(tmp_path, clock):
    house = built(tmp_path, keep_s=10.0, clock=clock)
    await house.train()
    clock.now = 100.0
    return house


@pytest.fixture
def wall(monkeypatch):
    """Sets the time that questions are asked at."""

    class Wall:
        at = datetime.now(UTC)

        def now(self, zone):
            return self.at.astimezone(zone)

    made = Wall()
    monkeypatch.setattr("services.ranker.recommender.datetime", made)
    return made
