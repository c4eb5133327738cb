"""The item table and the live state."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker.items import live as live_module
from services.ranker.items.live import LiveItems
from services.ranker.items.popularity import Popularity
from services.ranker.items.table import ItemTable
from services.ranker.items.vectors import ItemVectors
from services.ranker.ports import Embedded
from shared.data.nouns import EventType, Item, ItemDeleted, LogRecord, UserForgotten
from shared.data.preferences import PreferenceRules

from .samples import RULES, START, rating

ALL = np.arange(6, dtype=np.intp)


@settings(deadline=None)  # the machine may be busy
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1000), st.booleans()), max_size=60),
    st.integers(0, 1000),
    st.integers(0, 1000),
    st.integers(0, 60),
)
def test_counts_in_a_period_are_what_counting_gives(events, start, end, settle_at):
    counts = Popularity()
    for turn, (row, second, positive) in enumerate(events):
        counts.add(row, second, positive=positive, rating=None)
        if turn == settle_at:
            counts.settle()
    expected = [sum(r == row and start <= s <= end and p for r, s, p in events) for row in range(6)]
    whole = [sum(r == row and s <= end and p for r, s, p in events) for row in range(6)]
    assert counts.within(ALL, [start, 0], end).tolist() == [expected, whole]
    assert counts.take(counts.events, ALL).tolist() == [sum(r == row for r, _, _ in events) for row in range(6)]
    assert counts.within(np.array([-1], dtype=np.intp), [0], 1000).tolist() == [[0]]


def test_the_oldest_positives_are_dropped_past_the_limit():
    counts = Popularity(max_keys=10)
    for second in range(100):
        counts.add(second % 3, second, positive=True, rating=None)
    counts.settle()
    assert counts.within(ALL, [0], 89).sum() == 0
    assert 9 <= counts.within(ALL, [90], 99).sum() <= 10
    assert counts.positives[:3].sum() == 100


def test_a_handful_of_stragglers_does_not_move_the_clock():
    counts = Popularity()
    for turn in range(1000):
        counts.add(0, 1_000_000 + turn, positive=True, rating=None)
    counts.settle()
    counts.add(0, 90_000_000, positive=True, rating=None)
    counts.settle()
    assert 1_000_900 <= counts.clock <= 1_000_999


def test_mean_ratings_are_drawn_to_the_overall_mean():
    counts = Popularity()
    for value in (5.0, 3.0, 3.0, 1.0):
        counts.add(0 if value == 5 else 1, 0, positive=False, rating=value)
    means = counts.mean_rating(ALL)
    assert 3.0 < means[0] < 5.0
    assert means[2] == pytest.approx(3.0)
    assert np.isnan(Popularity().mean_rating(ALL)).all()


def test_vectors_come_from_the_artifact_and_from_later_rows():
    base = np.eye(3, dtype=np.float32)
    vectors = ItemVectors(base)
    vectors.put(1, np.array([0, 0, 9], dtype=np.float32))
    vectors.put(7, np.array([7, 0, 0], dtype=np.float32))
    vectors.drop(2)
    taken, found = vectors.take(np.array([0, 1, 2, 7, 5, -1, 99], dtype=np.intp))
    assert found.tolist() == [True, True, False, True, False, False, False]
    assert taken[:2].tolist() == [[1, 0, 0], [0, 0, 9]]
    assert taken[3].tolist() == [7, 0, 0]
    assert not taken[4:].any()
    assert base.tolist() == np.eye(3).tolist()
    for row in range(200):
        vectors.put(row, np.full(3, row, dtype=np.float32))
    assert vectors.take(np.arange(200, dtype=np.intp))[0][:, 0].tolist() == list(range(200))


@pytest.mark.parametrize("centre", [None, np.array([0.3, 0.1, -0.2], dtype=np.float32)])
def test_cosines_of_all_rows_are_those_of_the_centred_vectors(table, tmp_path, centre):
    table.centre = centre
    table.save(tmp_path)
    loaded = ItemTable.load(tmp_path, RULES)
    loaded.put_item(Item("e", title="Eraserhead"))
    loaded.vectors.put(4, np.array([0, 0.6, 0.8], dtype=np.float32))
    loaded.vectors.drop(1)
    direction = np.array([0.48, 0.6, 0.64], dtype=np.float32)
    vectors, found = loaded.centred(np.arange(5))
    cosines, known = loaded.cosines(direction)
    assert known.tolist() == found.tolist() == [True, False, True, False, True]
    np.testing.assert_allclose(cosines, vectors @ direction, atol=1e-6)


def test_a_table_survives_saving(table, tmp_path):
    table.row("only-in-events")
    table.centre = np.array([0.1, 0.2, 0.3], dtype=np.float32)
    table.save(tmp_path)
    loaded = ItemTable.load(tmp_path, RULES)
    rows = np.arange(len(table.ids), dtype=np.intp)
    assert loaded.ids == table.ids
    assert loaded.embedding_version == "e1"
    np.testing.assert_array_equal(loaded.centred(rows)[0], table.centred(rows)[0])
    np.testing.assert_array_equal(loaded.centred(rows)[1], table.centred(rows)[1])
    np.testing.assert_array_equal(loaded.attributes.categories(rows, 5), table.attributes.categories(rows, 5))
    np.testing.assert_array_equal(loaded.attributes.numbers(rows, 2), table.attributes.numbers(rows, 2))
    np.testing.assert_array_equal(loaded.popularity.mean_rating(rows), table.popularity.mean_rating(rows))
    np.testing.assert_array_equal(
        loaded.popularity.within(rows, [0], 10**10), table.popularity.within(rows, [0], 10**10)
    )
    assert loaded.popularity.clock == table.popularity.clock


def test_a_full_table_leaves_items_out_and_counts_them():
    made = ItemTable(RULES, max_items=1)
    made.put_item(Item("a"))
    made.put_item(Item("b"))
    made.put_event(rating("u", "b", 5, 0))
    assert made.ids == ["a"]
    assert made.left_out == 2


def test_impressions_do_not_count():
    made = ItemTable(RULES)
    made.put_event(replace(rating("u", "a", 5, 0), type=EventType.IMPRESSION))
    assert made.ids == []


def record(sequence: int, body: object) -> LogRecord:
    return LogRecord(sequence, START + timedelta(days=sequence), body)


class TestLive:
    def make(self, **options) -> LiveItems:
        return LiveItems(PreferenceRules(), **options)

    def vectors(self, *rows, version="e1") -> Embedded:
        made = np.array(rows, dtype=np.float32)
        return Embedded(made, np.ones(len(made), dtype=bool), version)

    def test_new_items_wait_for_a_vector_and_get_it(self):
        live = self.make()
        live.apply([record(1, Item("a", title="A")), record(2, Item("b", title="B")), record(3, Item("c"))])
        assert live.take_waiting(10) == ["a", "b"]
        assert live.take_waiting(10) == []
        live.put_back(["a", "b"])
        assert live.take_waiting(1) == ["b"]
        live.put_vectors(["b"], self.vectors([1, 0]))
        assert live.table.vectors.has(live.table.rows["b"])
        assert not live.table.vectors.has(live.table.rows["a"])

    def test_a_changed_text_needs_a_new_vector_an_unchanged_one_does_not(self):
        live = self.make()
        live.apply([record(1, Item("a", title="A"))])
        live.put_vectors(live.take_waiting(10), self.vectors([1, 0]))
        live.apply([record(2, Item("a", title="A"))])
        assert live.take_waiting(10) == []
        live.apply([record(3, Item("a", title="Another"))])
        assert live.take_waiting(10) == ["a"]
        assert not live.table.vectors.has(0)

    async def test_a_model_brings_its_vectors_along(self, table, items):
        live = self.make()
        live.apply([record(number, item) for number, item in enumerate(items)])
        await live.adopt(table)
        assert live.take_waiting(10) == ["d"]
        assert live.table.embedding_version == "e1"
        live.put_vectors(["d"], self.vectors([0, 1, 0], version="another"))
        assert not live.table.vectors.has(live.table.rows["d"])

    async def test_items_that_come_after_the_model_are_seeded_too(self, table, items):
        live = self.make()
        await live.adopt(table)
        live.apply([record(number, item) for number, item in enumerate(items)])
        assert live.take_waiting(10) == ["d"]
        assert live.table.vectors.count == 3

    def test_deleted_items_do_not_wait_and_come_back_when_written_again(self):
        live = self.make()
        live.apply([record(1, Item("a", title="A")), record(2, ItemDeleted("a"))])
        assert live.take_waiting(10) == []
        assert live.catalogue.get("a") is None
        live.apply([record(3, Item("a", title="A"))])
        assert live.catalogue.title("a") == "A"
        assert live.take_waiting(10) == ["a"]

    async def test_a_replaced_log_starts_anew(self, table):
        live = self.make()
        await live.adopt(table)
        live.apply([record(1, Item("a", title="Alien")), record(2, rating("u", "a", 5, 0))])
        live.reset()
        assert len(live.catalogue) == 0
        assert live.table.ids == []
        live.apply([record(1, Item("a", title="Alien"))])
        assert live.table.vectors.count == 1

    def test_a_forgotten_user_is_told(self):
        told = []
        live = self.make(on_forgotten=told.append)
        live.apply([record(1, UserForgotten("u"))])
        assert told == ["u"]

    async def test_what_changes_while_a_model_is_adopted_is_kept(self, table, items, monkeypatch):
        live = self.make()
        live.apply([record(number, item) for number, item in enumerate(items)])
        gathered = live_module.seeding

        def meanwhile(seed, own, catalogue):
            made = gathered(seed, own, catalogue)
            live.apply([record(10, replace(items[0], title="Another")), record(11, Item("late", title="Late"))])
            return made

        monkeypatch.setattr(live_module, "seeding", meanwhile)
        before = live.table
        await live.adopt(table)
        assert live.table is not before
        rows = live.table.rows
        assert [live.table.vectors.has(rows[name]) for name in ("a", "b", "late")] == [False, True, False]
        assert set(live.take_waiting(10)) == {"a", "d", "late"}
        assert before.embedding_version == ""

    async def test_a_log_that_is_replaced_while_a_model_is_adopted(self, table, items, monkeypatch):
        live = self.make()
        live.apply([record(number, item) for number, item in enumerate(items)])
        gathered = live_module.seeding

        def meanwhile(seed, own, catalogue):
            made = gathered(seed, own, catalogue)
            if "d" in own.rows:
                live.reset()
                live.apply([record(1, items[1])])
            return made

        monkeypatch.setattr(live_module, "seeding", meanwhile)
        await live.adopt(table)
        assert live.table.ids == ["b"]
        assert live.table.vectors.take(np.zeros(1, dtype=np.intp))[0][0].tolist() == pytest.approx([0.8, 0.6, 0])


def test_changes_are_items_written_or_deleted_and_vectors_that_come_or_go():
    now = [5.0]
    live = LiveItems(PreferenceRules(), clock=lambda: now[0])
    assert (live.item_changes, live.changed_at) == (0, -math.inf)

    def changed_by(act):
        now[0] += 1
        before = live.item_changes
        act()
        assert (live.changed_at == now[0]) == (live.item_changes > before)
        return live.item_changes > before

    def vectors(ok):
        embedded = Embedded(np.eye(2, dtype=np.float32)[:1], np.array([ok]), "e1")
        return lambda: live.put_vectors(["a"], embedded)

    assert changed_by(lambda: live.apply([LogRecord(1, START, Item("a", title="A"))]))
    assert not changed_by(lambda: live.apply([LogRecord(2, START, rating("u", "a", 5, 1))]))
    assert changed_by(vectors(ok=True))
    assert not changed_by(vectors(ok=True))
    assert changed_by(vectors(ok=False))
    assert changed_by(lambda: live.apply([LogRecord(3, START, ItemDeleted("a"))]))
    assert changed_by(live.reset)


def test_openings_are_told_in_order_and_bounded_by_the_catalogue():
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    live = LiveItems(PreferenceRules())
    hours = {"past": -9, "third": 3, "first": 1, "second": 2}
    items = [Item(one, available_from=soon + timedelta(hours=at)) for one, at in hours.items()]
    live.apply([LogRecord(n, START, item) for n, item in enumerate([*items, Item("always")], 1)])
    begins, hour = soon.timestamp(), 3_600.0
    assert live.openings.after(begins) == begins + hour
    assert live.openings.last == -math.inf
    assert live.openings.after(begins + hour) == begins + 2 * hour
    assert live.openings.last == begins + hour
    assert live.openings.after(begins + 9 * hour) == math.inf
    again = [Item("a", available_from=soon + timedelta(days=1, seconds=n)) for n in range(3_000)]
    live.apply([LogRecord(9 + n, START, item) for n, item in enumerate(again)])
    assert len(live.openings) <= 1_000 + 2 * len(live.catalogue)
    # Those that hold are not lost.
    assert live.openings.after(again[-1].available_from.timestamp() - 1) == again[-1].available_from.timestamp()
    live.reset()
    assert live.openings.after(begins) == math.inf
