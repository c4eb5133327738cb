"""Answers given again: while nothing of the user changes, and no longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from prometheus_client import REGISTRY

from services.ranker.nouns import Question
from services.ranker.pipeline.select.options import NO_OPTIONS
from shared.data.nouns import EventType, Item, ItemDeleted, ItemFilter, UserForgotten

from .house import built, record
from .samples import START, rating, seen


@pytest.fixture
async def kept(tmp_path):
    house = built(tmp_path, keep_s=10.0)
    await house.train()
    return house


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


async def test_age_and_new_items_end_it(kept):
    clock = kept.recommender.kept
    now = [0.0]
    clock._clock = lambda: now[0]
    await asked(kept)
    now[0] = 9.9
    assert not (await asked(kept))[1]
    now[0] = 10.0
    assert (await asked(kept))[1]
    kept.live.apply([record(900, Item("i29", title="T29"))])
    now[0] = 10.4
    assert not (await asked(kept))[1]
    now[0] = 10.6
    assert (await asked(kept))[1]


async def test_memory_is_bounded_by_results(kept):
    for n in range(60):
        await asked(kept, user=f"n{n}", k=20)
    assert REGISTRY.get_sample_value("fusionrec_reply_cache_results") == 1000
    assert (await asked(kept, user="n0", k=20))[1]
    assert not (await asked(kept, user="n59", k=20))[1]
