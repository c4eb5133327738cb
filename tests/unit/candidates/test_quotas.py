"""Learned quotas: planted truths are found, places are filled, and nothing is lost on the way to a file."""

from __future__ import annotations

import json

import numpy as np
import pytest

from services.candidates.merge.fusion import fuse
from services.candidates.merge.quotas import Quotas
from shared.data.nouns import Temperature

HOT, WARM, COLD = Temperature.HOT, Temperature.WARM, Temperature.COLD
USERS = 80


def recall(rows, relevant):
    return np.isin(relevant, rows).mean()


def planted(rng, right, depth=100):
    """Of each user three lists of their own items; what is relevant is in the first `right[name]` items of each."""
    lists, relevant = [], []
    for _ in range(USERS):
        shuffled = rng.permutation(1_000)
        own = {name: shuffled[place * depth : (place + 1) * depth] for place, name in enumerate(right)}
        lists.append(own)
        relevant.append(
            np.concatenate([rng.choice(own[name][:reach], reach // 4, False) for name, reach in right.items()])
        )
    return lists, relevant


def places(quotas, temperature=HOT):
    total = {}
    for name, slots in quotas.turns(temperature):
        total[name] = total.get(name, 0) + slots
    return total


def test_the_source_that_is_right_gets_the_places():
    lists, relevant = planted(np.random.default_rng(0), {"noise": 0, "right": 60, "more noise": 0})
    quotas = Quotas.fit(lists, relevant, 60)
    assert places(quotas) == {"right": 60}
    merged = [quotas.merge(own, 60, HOT, 60)[0] for own in lists]
    fused = [fuse(list(own.values()), 60)[0][:60] for own in lists]
    assert np.mean([recall(rows, own) for rows, own in zip(merged, relevant, strict=True)]) == 1
    assert np.mean([recall(rows, own) for rows, own in zip(fused, relevant, strict=True)]) < 0.5


def test_places_are_shared_as_deep_as_each_source_is_right():
    lists, relevant = planted(np.random.default_rng(1), {"short": 20, "long": 60})
    assert places(Quotas.fit(lists, relevant, 80)) == {"short": 20, "long": 60}


def test_what_one_source_said_counts_for_no_other():
    rng = np.random.default_rng(2)
    lists, relevant = planted(rng, {"a": 40, "c": 12})
    for own in lists:
        own["copy of a"] = own["a"].copy()
    assert places(Quotas.fit(lists, relevant, 60)) == {"a": 40, "c": 20}


def test_each_temperature_learns_its_own():
    rng = np.random.default_rng(3)
    hot, warm = planted(rng, {"x": 40, "y": 0}), planted(rng, {"x": 0, "y": 40})
    temperatures = [HOT] * USERS + [WARM] * USERS + [COLD]
    lists, relevant = hot[0] + warm[0] + warm[0][:1], hot[1] + warm[1] + warm[1][:1]
    quotas = Quotas.fit(lists, relevant, 40, temperatures)
    assert places(quotas, HOT) == {"x": 40}
    assert places(quotas, WARM) == {"y": 40}
    assert places(quotas, COLD) == places(Quotas.fit(lists, relevant, 40))


def test_users_without_relevant_items_do_not_count():
    lists, relevant = planted(np.random.default_rng(4), {"a": 40, "b": 0})
    silent = [np.zeros(0, np.int64)] * USERS
    assert Quotas.fit(lists + lists, relevant + silent, 40) == Quotas.fit(lists, relevant, 40)
    assert Quotas.fit(lists, silent, 40).usual == ()
    assert Quotas.fit([], [], 40).usual == ()


QUOTAS = Quotas((("a", 3), ("b", 2), ("a", 1)))
LISTS = {"a": np.array([5, 6, 7, 8, 9]), "b": np.array([6, 5, 1, 2, 3]), "c": np.array([4, 9])}


@pytest.mark.parametrize(
    ("k", "expected"),
    [
        (2, {5, 6}),
        (3, {5, 6, 7}),
        (5, {5, 6, 7, 1, 2}),
        (6, {5, 6, 7, 1, 2, 8}),
        (7, {5, 6, 7, 1, 2, 8, 9}),  # the turns are over: 9 is in two lists, the best of what is left
        (9, {5, 6, 7, 1, 2, 8, 9, 4, 3}),
        (20, {5, 6, 7, 1, 2, 8, 9, 4, 3}),
    ],
)
def test_turns_take_what_is_left_in_the_order_of_the_fusion(k, expected):
    rows, scores = QUOTAS.merge(LISTS, k, HOT, 60)
    assert set(rows.tolist()) == expected
    fused = dict(zip(*(one.tolist() for one in fuse(list(LISTS.values()), 60)), strict=True))
    assert scores.tolist() == [fused[row] for row in rows.tolist()]
    assert rows.tolist() == sorted(rows.tolist(), key=lambda row: (-fused[row], row))


def test_places_of_a_list_that_ends_go_to_the_others():
    rows, _ = QUOTAS.merge({**LISTS, "a": np.array([5])}, 5, HOT, 60)
    assert len(rows) == 5
    assert {5, 6, 1} <= set(rows.tolist())


def test_without_a_source_that_has_a_turn_ranks_alone_decide():
    lists = {"a": LISTS["a"], "c": LISTS["c"]}
    rows, scores = QUOTAS.merge(lists, 3, HOT, 60)
    fused = fuse(list(lists.values()), 60)
    assert rows.tolist() == fused[0][:3].tolist()
    assert scores.tolist() == fused[1][:3].tolist()


def test_no_lists_merge_to_nothing():
    assert len(Quotas(()).merge({}, 5, COLD, 60)[0]) == 0


def test_a_shorter_list_is_the_beginning_of_a_longer_one():
    lists, relevant = planted(np.random.default_rng(5), {"a": 30, "b": 50, "c": 10})
    short, long = Quotas.fit(lists, relevant, 30), Quotas.fit(lists, relevant, 90)
    for own in lists:
        assert set(short.merge(own, 30, HOT, 60)[0]) == set(long.merge(own, 30, HOT, 60)[0])
        assert set(long.merge(own, 30, HOT, 60)[0]) <= set(long.merge(own, 50, HOT, 60)[0])


def test_quotas_come_back_from_a_file_as_they_were():
    lists, relevant = planted(np.random.default_rng(6), {"a": 30, "b": 50})
    quotas = Quotas.fit(lists, relevant, 60, [HOT] * USERS)
    assert quotas.by_temperature
    assert Quotas.from_json(json.loads(json.dumps(quotas.to_json()))) == quotas
    with pytest.raises(KeyError):
        Quotas.from_json({"usual": []})


def test_only_so_many_users_are_learned_from(monkeypatch):
    lists, relevant = planted(np.random.default_rng(7), {"a": 40, "b": 20})
    monkeypatch.setattr("services.candidates.merge.quotas.MAX_USERS", 20)
    few = Quotas.fit(lists, relevant, 60)
    assert few == Quotas.fit(lists[::4], relevant[::4], 60)
