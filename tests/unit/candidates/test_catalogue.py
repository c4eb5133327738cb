from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.candidates.arrays import GrowingArray
from services.candidates.catalogue.storage import load_table, save_table
from services.candidates.catalogue.table import ItemTable
from shared.data.nouns import AttributeRule, Item, ItemFilter

NOW = datetime(2024, 5, 1, tzinfo=UTC)
NOBODY = np.zeros(0, np.int64)


def made_items():
    rng = np.random.default_rng(0)
    return [
        Item(
            f"i{row}",
            f"title {row}",
            categories=tuple(sorted({f"c{number}" for number in rng.integers(5, size=2)})),
            attributes={
                "year": float(rng.integers(1990, 2000)),
                "brand": f"b{rng.integers(3)}",
                "tags": tuple(f"t{number}" for number in rng.integers(4, size=2)),
                "new": bool(rng.integers(2)),
            }
            if row % 7
            else {},
        )
        for row in range(120)
    ]


@pytest.fixture
def table():
    table = ItemTable()
    for item in made_items():
        table.put(item)
    return table


def matches(item, rule):
    value = item.attributes.get(rule.name)
    if value is None:
        return False
    if rule.any_of is not None:
        words = value if isinstance(value, tuple) else (value,)
        return any(word in rule.any_of for word in words)
    if rule.range is not None:
        low, high = rule.range
        return (low is None or value >= low) and (high is None or value <= high)
    return value is rule.equals


FILTERS = [
    ItemFilter(),
    ItemFilter(categories_any=frozenset({"c1", "c9"})),
    ItemFilter(categories_all=frozenset({"c1", "c2"})),
    ItemFilter(categories_none=frozenset({"c0", "c3"})),
    ItemFilter(attributes=(AttributeRule("year", range=(1993, None)),)),
    ItemFilter(attributes=(AttributeRule("year", range=(None, 1995)), AttributeRule("brand", any_of=("b1", "b2")))),
    ItemFilter(attributes=(AttributeRule("tags", any_of=("t3",)),)),
    ItemFilter(attributes=(AttributeRule("new", equals=False),)),
    ItemFilter(attributes=(AttributeRule("unheard", equals=True),)),
    ItemFilter(categories_any=frozenset({"c1"}), exclude_item_ids=frozenset({"i1", "i2", "nothing"})),
]


@pytest.mark.parametrize("one", FILTERS)
def test_filters_allow_what_a_plain_loop_allows(table, one):
    expected = [
        (not one.categories_any or bool(one.categories_any & set(item.categories)))
        and one.categories_all <= set(item.categories)
        and not one.categories_none & set(item.categories)
        and all(matches(item, rule) for rule in one.attributes)
        and item.item_id not in one.exclude_item_ids
        for item in made_items()
    ]
    assert table.allowed(one, NOW, NOBODY).mask.tolist() == expected


@pytest.mark.parametrize("one", FILTERS)
def test_filters_follow_changes(table, one):
    turned = list(reversed(made_items()))
    for item, other in zip(made_items(), turned, strict=True):
        table.put(Item(item.item_id, other.title, categories=other.categories, attributes=other.attributes))
    fresh = ItemTable()
    for item, other in zip(made_items(), turned, strict=True):
        fresh.put(Item(item.item_id, other.title, categories=other.categories, attributes=other.attributes))
    assert table.allowed(one, NOW, NOBODY).mask.tolist() == fresh.allowed(one, NOW, NOBODY).mask.tolist()


@pytest.mark.parametrize("one", FILTERS)
def test_a_stored_table_filters_as_before(table, one, tmp_path):
    table.remove("i5")
    table.row_of("only events")
    save_table(table, tmp_path)
    loaded = load_table(tmp_path)
    assert loaded.rows == table.rows
    assert loaded.allowed(one, NOW, NOBODY).mask.tolist() == table.allowed(one, NOW, NOBODY).mask.tolist()


@pytest.mark.parametrize("one", FILTERS)
def test_a_reader_between_any_two_steps_of_the_writer_has_an_answer(one, monkeypatch):
    table = ItemTable()
    grow, sizes = GrowingArray.grow, []

    def grow_and_read(array, size):
        grow(array, size)
        mask = table.allowed(one, NOW, np.array(list(table.rows.values())[-1:], np.int64)).mask
        assert all(table.ids[row] for row in np.flatnonzero(mask))
        sizes.append(len(mask))

    monkeypatch.setattr(GrowingArray, "grow", grow_and_read)
    for row in range(600):
        table.row_of(f"i{row}")
    for item in made_items():
        table.put(item)
    assert max(sizes) == 600


def test_a_rule_holds_while_an_item_is_replaced(monkeypatch):
    table = ItemTable()
    table.put(Item("x", "before", categories=("adult", "old"), attributes={"year": 1990.0}))
    rules = [
        ItemFilter(categories_none=frozenset({"adult"})),
        ItemFilter(attributes=(AttributeRule("year", range=(2000, None)),)),
    ]
    seen = []

    def reading(step):
        def read_and_step(*args, **kwargs):
            seen.append([table.allowed(rule, NOW, NOBODY).mask[0] for rule in rules])
            step(*args, **kwargs)
            seen.append([table.allowed(rule, NOW, NOBODY).mask[0] for rule in rules])

        return read_and_step

    for name in ("add", "remove"):
        monkeypatch.setattr(table._postings, name, reading(getattr(table._postings, name)))
    table.put(Item("x", "after", categories=("adult", "new"), attributes={"year": 1995.0}))
    assert len(seen) == 4
    assert not np.any(seen)
    assert not table.allowed(ItemFilter(categories_any=frozenset({"old"})), NOW, NOBODY).mask[0]


def test_availability_has_a_first_and_no_last_moment(table):
    table.put(Item("x", available_from=NOW, available_until=NOW + timedelta(days=1)))
    row = table.rows["x"]
    moments = [NOW - timedelta(seconds=1), NOW, NOW + timedelta(hours=23), NOW + timedelta(days=1)]
    assert [bool(table.allowed(ItemFilter(), at, NOBODY).mask[row]) for at in moments] == [False, True, True, False]


def test_hidden_and_removed_rows_are_not_allowed(table):
    assert table.remove("i4") == 4
    assert table.remove("i4") is None
    assert table.remove("nothing") is None
    mask = table.allowed(ItemFilter(), NOW, np.array([2, 3])).mask
    assert np.flatnonzero(~mask).tolist() == [2, 3, 4]
    assert table.item(4) is None
    assert table.alive_count == 119


def test_a_removed_item_comes_back_to_its_row(table):
    item = made_items()[4]
    table.remove("i4")
    assert table.put(item) == (4, False)
    assert table.allowed(ItemFilter(), NOW, NOBODY).mask[4]


@pytest.mark.parametrize(
    ("change", "matters"),
    [
        ({"title": "other"}, True),
        ({"text": "words"}, True),
        ({"categories": ("c1", "c7")}, True),
        ({"attributes": {"year": 1.0}}, True),
        ({"attributes": {"year": "1990"}}, True),
        ({"available_until": NOW}, False),
        ({"updated_at": NOW}, False),
    ],
)
def test_only_what_models_read_makes_an_item_another(change, matters):
    base = {"title": "t", "text": "", "categories": ("c",), "attributes": {"year": 1990.0}}
    table = ItemTable()
    table.put(Item("x", **base))
    assert table.put(Item("x", **{**base, **change})) == (0, matters)


def test_every_kind_of_attribute_survives_storage(tmp_path):
    table = ItemTable()
    item = Item("ü", "tïtle", attributes={"a": "x", "b": 1.5, "c": True, "d": ("p", "q"), "e": NOW}, available_from=NOW)
    table.put(item)
    save_table(table, tmp_path)
    assert load_table(tmp_path).item(0) == item
