"""The pipeline through its ports: what is answered."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from services.ranker.nouns import Question, RecommendRequest
from shared.data.nouns import Item, ItemFilter, SeenPolicy, Temperature
from shared.errors import InvalidField, NotFound

from .house import WORLD, named, record
from .samples import START, rating, seen


async def test_a_full_answer(house):
    await house.train()
    answer = await house.ask()
    assert [one.item_id for one in answer.results] == ["i3", "i4", "i5", "i6", "i7"]
    assert [one.position for one in answer.results] == [1, 2, 3, 4, 5]
    assert answer.degraded == ()
    assert answer.temperature is Temperature.WARM
    assert answer.candidates_scored == 27
    assert answer.models["candidates"] == "c1"
    assert answer.index_version == "x1"
    stages = {one.stage for one in answer.stages}
    assert stages == {"hydrate", "sources", "filter", "score", "select", "record"}


async def test_without_a_model_the_order_is_that_of_the_candidates(house):
    answer = await house.ask()
    assert [one.item_id for one in answer.results] == ["i3", "i4", "i5", "i6", "i7"]
    assert named(answer) == {"fusion": "merged_order"}
    assert answer.models["ranker"] == "untrained"


async def test_a_pinned_version_pins_candidates_and_leaves_live_state_out(house):
    version = await house.train()
    house.live.apply([record(900, rating("x", "i29", 5, 60)) for _ in range(50)])
    await house.ask(question=Question("u", model_version=version))
    assert house.near.queries[-1].model_version == "c-pinned"
    before = [one.item_id for one in (await house.ask(question=Question("u", model_version=version))).results]
    house.near.down = {"candidates", "embedding"}
    pinned = await house.ask(question=Question("u", model_version=version), k=1)
    live = await house.ask(k=1)
    assert pinned.results[0].item_id == "i3"
    assert live.results[0].item_id == "i29"
    assert before == ["i3", "i4", "i5", "i6", "i7"]


async def test_unknown_versions_and_variants_are_refused(house):
    await house.train()
    with pytest.raises(NotFound):
        await house.ask(question=Question("u", model_version="never"))
    with pytest.raises(NotFound, match="linear"):
        await house.ask(question=Question("u", variant="deep"))


async def test_an_empty_answer_says_why(house):
    await house.train()
    answer = await house.ask(item_filter=ItemFilter(categories_any=frozenset({"none"})))
    assert answer.results == ()
    assert answer.empty_reason == "the filter leaves nothing of 27 candidates"


async def test_batch_equals_single(house):
    await house.train()
    requests = [
        RecommendRequest(Question(user), 7, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN, explain=True)
        for user in ("u", "v1", "nobody")
    ]
    together = await house.recommender.batch(requests)
    for request, answer in zip(requests, together, strict=True):
        single = await house.recommender.recommend(request)
        # As text: a missing feature is NaN, which is unlike itself.
        stripped = [[repr(replace(r, attribution_token="")) for r in one.results] for one in (single, answer)]
        assert stripped[0] == stripped[1]


async def test_candidates_and_texts_are_asked_side_by_side(house):
    await house.train()
    both = asyncio.Event()
    waiting = set()

    def meet(name, original):
        async def wrapped(*args, **kwargs):
            waiting.add(name)
            if len(waiting) == 2:
                both.set()
            async with asyncio.timeout(5):
                await both.wait()
            return await original(*args, **kwargs)

        return wrapped

    house.near.find = meet("find", house.near.find)
    house.near.embed = meet("embed", house.near.embed)
    assert (await house.ask()).degraded == ()


async def test_as_of_reaches_every_neighbour(house):
    await house.train()
    at = START + timedelta(days=3)
    await house.ask(question=Question("u", as_of=at))
    assert house.near.queries[-1].as_of == at


async def test_a_fitting_new_item_gets_a_place(house):
    await house.train()
    WORLD.insert(0, "new")
    try:
        house.live.apply([record(1000, Item("new", title="T1"))])
        weights = house.recommender.shelf.current.fusions["linear"].model.weights
        weights *= -1
        answer = await house.ask(k=5)
        none = await house.ask(k=5, new_item_slots=0)
    finally:
        WORLD.remove("new")
    assert answer.results[-1].item_id == "new"
    assert answer.results[-1].is_new
    assert "new" not in {one.item_id for one in none.results}


async def test_explore_moves_items_and_tells_the_propensity(house):
    await house.train()
    answers = [await house.ask(k=3, explore=True, skip_impressions=True) for _ in range(10)]
    assert all(0 < one.propensity <= 1 for answer in answers for one in answer.results)
    assert len({tuple(one.item_id for one in answer.results) for answer in answers}) > 1


async def test_a_batch_ends_with_the_first_that_fails(house):
    running = asyncio.Event()
    ended = []

    async def find(query, timeout_s):  # noqa: ARG001 (the port's signature)
        if query.user_id == "wrong":
            await running.wait()
            raise InvalidField("k", 0, "1..2000", "use another k")
        running.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(query.user_id)

    house.near.find = find
    requests = [
        RecommendRequest(Question(user), 3, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN) for user in ("slow", "wrong")
    ]
    async with asyncio.timeout(10):
        with pytest.raises(InvalidField, match="use another k"):
            await house.recommender.batch(requests)
    assert ended == ["slow"]


async def test_many_results_are_those_of_few(house):
    await house.train()
    WORLD.extend(f"more{n}" for n in range(300))
    try:
        many = await house.ask(k=300, explain=True)
        few = await house.ask(k=5, explain=True)
    finally:
        del WORLD[30:]
    assert len(many.results) == 300
    assert [one.position for one in many.results] == list(range(1, 301))
    assert [one.item_id for one in many.results[:5]] == [one.item_id for one in few.results]
    assert all(one.explanation is not None for one in many.results)


async def test_a_history_is_made_a_profile_of_once_until_it_changes(house):
    await house.train()
    known = house.recommender.hydrate._known
    await house.ask()
    first = known.get("u").profile
    await house.ask()
    assert known.get("u").profile is first
    house.near.histories["u"].append(seen("i3", 5, 4))
    answer = await house.ask()
    assert answer.results[0].item_id == "i4"
    assert [event.item_id for event in known.get("u").profile.history] == ["i0", "i1", "i2", "i3"]


async def test_what_was_known_at_another_time_is_not_what_is_known_now(house):
    await house.train()
    now = [one.item_id for one in (await house.ask()).results]
    house.near.histories["u"] = house.near.histories["u"][:1]
    then = await house.ask(question=Question("u", as_of=START + timedelta(days=2)))
    assert [one.item_id for one in then.results][:2] == ["i1", "i2"]
    assert len(house.recommender.hydrate._known.get("u").profile.history) == 3
    assert now[0] == "i3"
