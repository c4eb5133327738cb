"""Answers given again: the memory that they may take."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace
from datetime import timedelta

import pytest

from services.ranker.features.history_mark import HistoryMark
from services.ranker.pipeline.select.options import NO_OPTIONS
from shared.data.nouns import EventType, HistoryEvent, ItemFilter

from .keeping import asked, in_memory
from .samples import START, seen


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
    assert mark == HistoryMark.of(tuple(replace(event) for event in history))
    assert mark != HistoryMark.of((history[0], replace(history[1], **other)))
    assert mark != HistoryMark.of(history[::-1])
    assert mark != HistoryMark.of(history[:1])
