"""Answers given again: what ends it beside what their user does."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np

from services.ranker.adapters.rule_file import RuleFile
from services.ranker.nouns import Question
from services.ranker.pipeline.select.options import NO_OPTIONS, Pin
from services.ranker.ports import Embedded
from shared.data.nouns import Item

from .house import built, record, vector
from .keeping import asked, ids


async def test_age_and_new_items_end_it(kept, clock):
    await asked(kept)
    clock.now = 109.9
    assert not (await asked(kept))[1]
    clock.now = 110.0
    assert (await asked(kept))[1]
    kept.live.apply([record(900, Item("i29", title="T29"))])
    clock.now = 110.4
    assert not (await asked(kept))[1]
    clock.now = 110.6
    assert (await asked(kept))[1]


def give_vector(house, item_id):
    house.live.put_vectors([item_id], Embedded(vector(3)[None], np.ones(1, dtype=bool), "e1"))


async def test_the_vector_of_a_new_item_ends_it(kept, clock):
    kept.live.apply([record(900, Item("n", title="New"))])
    clock.now = 110.0
    await asked(kept)
    give_vector(kept, "n")
    clock.now = 110.6
    assert (await asked(kept))[1]


async def test_shortly_after_a_change_an_answer_is_kept_shortly(kept, clock):
    # Candidates may answer from before the change: what is computed now shall not stay.
    kept.live.apply([record(900, Item("n", title="New"))])
    clock.now = 109.9
    assert (await asked(kept))[1]
    clock.now = 110.3
    assert not (await asked(kept))[1]
    clock.now = 110.5
    assert (await asked(kept))[1]
    clock.now = 119.0
    assert not (await asked(kept))[1]


async def test_answers_that_were_computed_together_are_not_too_old_together(tmp_path, clock):
    house = built(tmp_path, keep_s=10.0, clock=clock, draw=iter([0.0, 0.5, *[1.0] * 4]).__next__)
    await house.train()
    clock.now = 100.0
    for user in ("a", "b", "c"):
        await asked(house, user=user)
    ages = {}
    for tenth in range(1000, 1101):
        clock.now = tenth / 10
        for user in {"a", "b", "c"} - ages.keys():
            if (await asked(house, user=user))[1]:
                ages[user] = clock.now - 100
    assert ages == {"a": 5.0, "b": 7.5, "c": 10.0}


async def test_better_vectors_of_known_items_do_not_end_it(kept, clock):
    await asked(kept)
    give_vector(kept, "i20")
    clock.now = 109.0
    assert not (await asked(kept))[1]


async def test_an_item_that_becomes_available_ends_it(kept, clock, wall):
    opens = wall.at + timedelta(hours=1)
    kept.live.apply([record(900, Item("i29", title="T29", available_from=opens))])
    clock.now = 110.0
    wall.at = opens - timedelta(seconds=1)
    await asked(kept)
    clock.now, wall.at = 111.0, opens
    assert (await asked(kept))[1]
    # Begun right after: candidates may have answered from before.
    clock.now, wall.at = 111.6, opens + timedelta(seconds=0.6)
    assert (await asked(kept))[1]
    clock.now, wall.at = 122.0, opens + timedelta(seconds=11)
    assert (await asked(kept))[1]
    clock.now, wall.at = 131.0, opens + timedelta(seconds=20)
    assert not (await asked(kept))[1]


async def test_a_pin_that_is_no_longer_available_ends_it(kept, clock, wall):
    ends = wall.at + timedelta(hours=1)
    kept.live.apply([record(900, Item("i20", title="T20", available_until=ends))])
    clock.now, wall.at = 110.0, ends - timedelta(seconds=1)
    selection = replace(NO_OPTIONS, pins=(Pin("i20", 1),))
    assert ids((await asked(kept, selection=selection))[0])[0] == "i20"
    wall.at = ends
    answer, computed = await asked(kept, selection=selection)
    assert computed
    assert "i20" not in ids(answer)


async def test_a_pin_of_the_rules_file_may_have_been_seen(tmp_path, clock):
    (tmp_path / "rules.yaml").write_text("selection: {pins: [{item_id: i0, position: 1}]}\n", encoding="utf-8")
    house = built(tmp_path, rules=RuleFile(str(tmp_path / "rules.yaml")), keep_s=10.0, clock=clock)
    clock.now = 100.0
    await house.train()
    clock.now = 110.0
    first, _ = await asked(house)
    assert ids(first)[0] == "i0"
    assert not (await asked(house))[1]


async def test_while_versions_are_swapped_the_newer_ones_answers_are_kept(kept, clock):
    original, version = kept.near.find, "c1"

    async def answering(query, timeout_s):
        return replace(await original(query, timeout_s), version=version)

    kept.near.find = answering
    await asked(kept, user="old")
    version = "c2"
    await asked(kept, user="new")
    version = "c1"
    await asked(kept, user="third")
    assert not (await asked(kept, user="new"))[1]
    assert (await asked(kept, user="old"))[1]
    # Rolled back: the newer one has not answered for longer than a swap takes.
    clock.now = 102.1
    await asked(kept, user="old")
    assert not (await asked(kept, user="old"))[1]


async def test_an_answer_that_is_not_kept_tells_of_the_candidates_version_too(kept):
    await asked(kept)
    original = kept.near.find

    async def newer(query, timeout_s):
        return replace(await original(query, timeout_s), version="c2")

    kept.near.find = newer
    await asked(kept, user="v", explain=True)
    assert (await asked(kept))[1]


async def test_a_pinned_version_tells_nothing_of_the_candidates_version(kept):
    await asked(kept)
    original = kept.near.find

    async def pinned(query, timeout_s):
        return replace(await original(query, timeout_s), version="c9" if query.model_version else "c1")

    kept.near.find = pinned
    await asked(kept, question=Question("v", model_version=kept.shelf.current.version))
    assert not (await asked(kept))[1]
