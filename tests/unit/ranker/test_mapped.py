"""Arrays of a version stay in its files: mapped, shared, and never written to."""

from __future__ import annotations

import hashlib
import mmap

import numpy as np
import pytest

from services.ranker.items.live import LiveItems
from services.ranker.items.table import ItemTable
from shared.data.nouns import Item, LogRecord

from .samples import RULES, START, rating


@pytest.fixture
def folder(table, tmp_path):
    table.centre = np.array([0.1, 0.2, 0.3], dtype=np.float32)
    table.save(tmp_path)
    return tmp_path


def is_mapped(array):
    while array is not None:
        if isinstance(array, mmap.mmap):
            return True
        array = getattr(array, "base", None)
    return False


def digests(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def arrays_of(table):
    counts, attributes = table.popularity, table.attributes
    return {
        "vectors": table.vectors._base,
        "categories": attributes._categories,
        "numbers": attributes._numbers,
        "events": counts.events,
        "positives": counts.positives,
        "rating_sum": counts.rating_sum,
        "ratings": counts.ratings,
        "keys": counts._sorted[0],
    }


def test_every_array_of_a_loaded_table_lies_in_its_file(folder):
    arrays = arrays_of(ItemTable.load(folder, RULES))
    assert [name for name, array in arrays.items() if not is_mapped(array)] == []


async def test_the_live_table_reads_the_models_vectors_where_they_lie(folder, items):
    live = LiveItems(RULES)
    live.apply(LogRecord(n, START, item) for n, item in enumerate(reversed(items), start=1))
    for _ in range(2):
        model = ItemTable.load(folder, RULES)
        await live.adopt(model)
        assert np.shares_memory(live.table.vectors._base, model.vectors._base)
        own, found = live.table.vectors.take(live.table.find(["a", "b", "c", "d"]))
        theirs, there = model.vectors.take(model.find(["a", "b", "c", "d"]))
        np.testing.assert_array_equal(own, theirs)
        assert found.tolist() == there.tolist() == [True, True, True, False]


def test_what_is_written_to_a_loaded_table_stays_in_memory(folder, table):
    before = digests(folder)
    loaded = ItemTable.load(folder, RULES)
    for one in (loaded, table):
        one.put_item(Item("a", title="Alien", categories=("Classic",), attributes={"length": 117.0}))
        one.put_item(Item("e", title="Eraserhead", categories=("Horror",)))
        one.put_event(rating("x", "a", 5, 900))
        one.put_event(rating("x", "e", 5, 901))
        one.vectors.put(1, np.array([0, 1, 0], dtype=np.float32))
    rows = np.arange(5)
    assert loaded.attributes.widths == table.attributes.widths
    categories, numbers = table.attributes.widths
    np.testing.assert_array_equal(
        loaded.attributes.categories(rows, categories), table.attributes.categories(rows, categories)
    )
    np.testing.assert_array_equal(loaded.attributes.numbers(rows, numbers), table.attributes.numbers(rows, numbers))
    np.testing.assert_array_equal(loaded.popularity.events[:5], table.popularity.events[:5])
    np.testing.assert_array_equal(loaded.vectors.take(rows)[0], table.vectors.take(rows)[0])
    assert digests(folder) == before


def test_a_table_without_anything_is_saved_and_loaded(tmp_path):
    ItemTable(RULES).save(tmp_path)
    loaded = ItemTable.load(tmp_path, RULES)
    assert loaded.ids == []
    loaded.put_item(Item("a", title="Alien", categories=("Horror",)))
    assert loaded.attributes.categories(np.array([0]), 1).tolist() == [[1.0]]
