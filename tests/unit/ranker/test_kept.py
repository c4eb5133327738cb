"""Answers given again: while nothing of the user changes, and no longer."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from prometheus_client import REGISTRY

from services.ranker.adapters.rule_file import RuleFile
from services.ranker.kept import HistoryMark
from services.ranker.nouns import Question
from services.ranker.pipeline.select.options import NO_OPTIONS, Pin
from services.ranker.ports import Embedded
from shared.data.nouns import EventType, HistoryEvent, Item, ItemDeleted, ItemFilter, UserForgotten

from .house import built, record, vector
from .samples import START, rating, seen


class Clock:
    """The monotonic clock of a house; what it is built with was written long before."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


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


def in_memory():
    return REGISTRY.get_sample_value("fusionrec_reply_cache_results")


async def asked(house, **options):
    """Asks, and returns the answer and whether candidates were asked for it."""
    before = len(house.near.queries)
    answer = await house.ask(**options)
    return answer, len(house.near.queries) > before


def ids(answer):
    return [one.item_id for one in answer.results]


async def test_an_answer_is_given_again_with_tokens_of_its_own(kept):
    first, computed = await asked(kept)
    again, computed_again = await asked(kept)
    assert (computed, computed_again) == (True, False)
    assert ids(first) == ids(again)
    assert first.computed_at == again.computed_at
    assert first.recommendation_id != again.recommendation_id
    await kept.recorder.flush()
    tokens = [one.attribution_token for answer in (first, again) for one in answer.results]
    assert [event.attribution_token for event in kept.near.written] == tokens
    assert len(set(tokens)) == 10
    assert {one.stage for one in again.stages} == {"hydrate", "record"}


async def test_titles_and_impressions_do_not_make_another_list(kept):
    await asked(kept)
    assert not (await asked(kept, include_titles=True))[1]
    skipped, computed = await asked(kept, skip_impressions=True)
    assert not computed
    assert not any(one.attribution_token for one in skipped.results)


async def test_the_users_next_event_is_never_overlooked(kept):
    await asked(kept)
    # Written, and not yet heard of through the log.
    kept.near.histories["u"] = [*kept.near.histories["u"], seen("i3", 5, 9)]
    answer, computed = await asked(kept)
    assert computed
    assert "i3" not in ids(answer)


async def test_what_the_log_tells_of_a_user_drops_their_answers(kept):
    for user in ("u", "v", "w"):
        await asked(kept, user=user)
    impression = replace(rating("w", "i3", 5, 1), type=EventType.IMPRESSION, value=None)
    kept.recommender.kept.apply(
        [record(1, rating("u", "i3", 5, 1)), record(2, UserForgotten("v")), record(3, impression)]
    )
    assert [(await asked(kept, user=user))[1] for user in ("u", "v", "w")] == [True, True, False]


@pytest.mark.parametrize(
    "options",
    [
        {"explore": True},
        {"explain": True},
        {"question": Question("u", as_of=START + timedelta(days=9))},
        {"question": Question("u", history=(seen("i0"),))},
        {"question": Question("", history=(seen("i0"),))},
    ],
    ids=["explore", "explain", "as_of", "history", "session"],
)
async def test_what_is_not_kept(kept, options):
    assert (await asked(kept, **options))[1]
    assert (await asked(kept, **options))[1]


async def test_pinned_versions_and_degraded_answers_are_not_kept(kept):
    version = kept.shelf.current.version
    for _ in range(2):
        assert (await asked(kept, question=Question("u", model_version=version)))[1]
    kept.near.failed_sources = {"als": "loading"}
    assert (await asked(kept))[1]
    kept.near.failed_sources = {}
    answer, computed = await asked(kept)
    assert computed
    assert answer.degraded == ()


@pytest.mark.parametrize(
    "options",
    [{"k": 4}, {"diversity": 0.3}, {"item_filter": ItemFilter(exclude_item_ids=frozenset({"i9"}))},
     {"selection": replace(NO_OPTIONS, max_per_category=2)}, {"question": Question("u", variant="linear")}],
)  # fmt: skip
async def test_another_request_is_another_answer(kept, options):
    await asked(kept)
    assert (await asked(kept, **options))[1]
    assert not (await asked(kept, **options))[1]


async def test_another_model_another_candidates_version_and_other_rules(kept):
    await asked(kept)
    await kept.train()
    assert (await asked(kept))[1]
    kept.recommender.selector.book.version += 1
    assert (await asked(kept))[1]
    assert not (await asked(kept))[1]
    original = kept.near.find

    async def newer(query, timeout_s):
        return replace(await original(query, timeout_s), version="c2")

    kept.near.find = newer
    await asked(kept, user="somebody else")
    assert (await asked(kept))[1]


async def test_items_that_may_not_be_shown_any_more_are_not(kept):
    first, _ = await asked(kept)
    gone = ids(first)[0]
    kept.live.apply([record(900, ItemDeleted(gone))])
    answer, computed = await asked(kept)
    assert computed
    assert gone not in ids(answer)


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
    clock.now = 101.9
    assert (await asked(kept))[1]
    clock.now = 102.3
    assert not (await asked(kept))[1]
    clock.now = 102.5
    assert (await asked(kept))[1]
    clock.now = 111.0
    assert not (await asked(kept))[1]


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
    clock.now, wall.at = 114.0, opens + timedelta(seconds=3)
    assert (await asked(kept))[1]
    clock.now, wall.at = 123.0, opens + timedelta(seconds=12)
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
    # Rolled back: the newer one has not answered for longer than answers are kept.
    clock.now = 111.0
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


def during(house, port, happens):
    """Lets something happen while a neighbour answers; returns the port as it was."""
    original = getattr(house.near, port)

    async def answering(*given, **named):
        answer = await original(*given, **named)
        happens()
        return answer

    setattr(house.near, port, answering)
    return original


@pytest.mark.parametrize("port", ["history", "find"])
@pytest.mark.parametrize("is_reset", [False, True], ids=["erased", "log replaced"])
async def test_an_erased_users_call_under_way_leaves_nothing(kept, port, is_reset):
    known = kept.recommender.hydrate._known
    told = [record(900, UserForgotten("u"))]

    def erased():
        for watcher in (kept.recommender.kept, known):
            watcher.reset() if is_reset else watcher.apply(told)

    original = during(kept, port, erased)
    assert ids((await asked(kept))[0])
    assert known.get("u") is None
    setattr(kept.near, port, original)
    assert (await asked(kept))[1]


async def test_events_of_others_meanwhile_do_not_matter(kept):
    during(kept, "find", lambda: kept.recommender.kept.apply([record(900, rating("v", "i3", 5, 1))]))
    await asked(kept)
    assert not (await asked(kept))[1]


async def test_memory_is_bounded_by_results(kept):
    for n in range(60):
        await asked(kept, user=f"n{n}", k=20)
    assert in_memory() == 1000
    assert (await asked(kept, user="n0", k=20))[1]
    assert not (await asked(kept, user="n59", k=20))[1]


async def test_memory_is_bounded_by_ids_that_requests_name(kept):
    named = [frozenset(f"x{n}-{m}" for m in range(240)) for n in range(4)]
    for n, some in enumerate(named):
        options = {"item_filter": ItemFilter(exclude_item_ids=some)}
        if n % 2:
            options = {"selection": replace(NO_OPTIONS, block_item_ids=some)}
        await asked(kept, k=20, **options)
    # 260 each: of four, three fit into 1,000.
    assert in_memory() == 780
    assert (await asked(kept, k=20, item_filter=ItemFilter(exclude_item_ids=named[0])))[1]


async def test_what_is_too_old_leaves_memory(kept, clock):
    for user in ("u", "v", "w"):
        await asked(kept, user=user)
    clock.now = 105.0
    await asked(kept, user="x")
    assert in_memory() == 20
    clock.now = 110.0
    # A degraded answer is not kept: what is looked for and found too old goes all the same.
    kept.near.failed_sources = {"als": "loading"}
    await asked(kept, user="v")
    assert in_memory() == 15
    kept.near.failed_sources = {}
    await asked(kept, user="y")
    assert in_memory() == 10


class Tracked(HistoryEvent):
    """A history event whose end can be seen."""


async def test_no_history_is_held(kept):
    event = Tracked("i3", EventType.RATING, START, 5.0, "T3")
    kept.near.histories["t"] = [event]
    await asked(kept, user="t")
    seen_last = weakref.ref(event)
    kept.near.histories.clear()
    kept.near.queries.clear()
    kept.recommender.hydrate._known.reset()
    del event
    gc.collect()
    assert in_memory() == 5
    assert seen_last() is None


@pytest.mark.parametrize(
    "other",
    [
        {"item_id": "i4"},
        {"type": EventType.LIKE},
        {"timestamp": START + timedelta(microseconds=1)},
        {"value": 4.5},
        {"value": None},
        {"text": "fine"},
    ],
    ids=str,
)
def test_the_mark_of_a_history_tells_every_change(other):
    history = (seen("i1"), seen("i3", 4.0))
    mark = HistoryMark.of(history)
    assert mark.is_of(tuple(replace(event) for event in history))
    assert not mark.is_of((history[0], replace(history[1], **other)))
    assert not mark.is_of(history[::-1])
    assert not mark.is_of(history[:1])
