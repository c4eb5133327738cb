"""Answers given again: while nothing of the user changes, and no longer."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from services.ranker.nouns import Question
from services.ranker.pipeline.select.options import NO_OPTIONS
from shared.data.nouns import EventType, ItemDeleted, ItemFilter, UserForgotten

from .house import record
from .keeping import asked, ids
from .samples import START, rating, seen


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
