"""Exploration: draws, propensities, and what is learned from the log."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.ranker.explore.outcomes import PRIOR, Outcomes
from services.ranker.pipeline.select.caps import Caps
from services.ranker.pipeline.select.explore import FLOOR, draws_of, plackett_luce, standardised, thompson
from services.ranker.pipeline.select.options import NO_OPTIONS, ExplorationMethod
from shared.data.nouns import Event, EventType, LogRecord, UserForgotten

from .samples import RULES, START


def free(count: int) -> Caps:
    return Caps.of([], {}, None, count=count)


def test_propensities_are_the_frequencies_of_what_is_drawn():
    scores = np.array([2.0, 1.0, 0.0], dtype=np.float32)
    random = np.random.default_rng(1)
    drawn = [plackett_luce(standardised(scores), 2, 1.0, free(3), random) for _ in range(8000)]
    first = Counter(one.places[0] for one in drawn)
    told = {one.places[0]: one.propensities[0] for one in drawn}
    assert sum(told.values()) == pytest.approx(1.0)
    for place, share in told.items():
        assert first[place] / len(drawn) == pytest.approx(share, abs=0.03)
    second = Counter(one.places[1] for one in drawn if one.places[0] == 0)
    conditional = {one.places[1]: one.propensities[1] for one in drawn if one.places[0] == 0}
    assert second[1] / first[0] == pytest.approx(conditional[1], abs=0.03)


def test_propensities_under_caps_are_those_among_what_is_left():
    scores, random = np.array([2.0, 1.0, 0.0, -1.0], dtype=np.float32), np.random.default_rng(2)
    categories = [("x",), ("x",), ("y",), ("y",)]
    drawn = [plackett_luce(standardised(scores), 2, 1.0, Caps.of(categories, {}, 1), random) for _ in range(6000)]
    assert all({one.places[0] // 2, one.places[1] // 2} == {0, 1} for one in drawn)
    second = Counter(one.places[1] for one in drawn if one.places[0] == 0)
    told = {one.places[1]: one.propensities[1] for one in drawn if one.places[0] == 0}
    assert sum(told.values()) == pytest.approx(1)
    assert second[2] / second.total() == pytest.approx(told[2], abs=0.03)


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.floats(-5, 5, width=32), max_size=30), st.integers(1, 40), st.booleans())
def test_exploring_shows_each_item_once_with_a_probability(scores, k, by_thompson):
    values, random = np.array(scores, dtype=np.float32), np.random.default_rng(0)
    if by_thompson:
        shown = thompson(
            values + random.normal(size=(50, len(values))).astype(np.float32), k, free(len(values)), random
        )
    else:
        shown = plackett_luce(standardised(values), k, 0.25, free(len(values)), random)
    assert len(shown.places) == len(set(shown.places)) == min(k, len(scores))
    assert all(0 < p <= 1 + 1e-9 for p in shown.propensities)


def test_thompson_draws_what_its_propensities_say_and_they_are_those_of_the_posterior():
    random = np.random.default_rng(4)
    centre = np.array([0.5, 0.0, 0.0], dtype=np.float32)
    truth = float((centre + random.normal(size=(200_000, 3))).argmax(axis=1).__eq__(0).mean())
    lists = [
        thompson((centre + random.normal(size=(500, 3))).astype(np.float32), 3, free(3), random) for _ in range(3000)
    ]
    first = [one for one in lists if one.places[0] == 0]
    assert len(first) / len(lists) == pytest.approx(truth, abs=0.03)
    # Weighted by 1 / propensity, what was shown first stands for every item alike: what off-policy evaluation rests on.
    for item in range(3):
        weights = [1 / one.propensities[0] for one in lists if one.places[0] == item]
        assert sum(weights) / len(lists) == pytest.approx(1, abs=0.1)
    error = np.sqrt(truth * (1 - truth) / 500)
    assert np.std([one.propensities[0] for one in first]) < 2 * error


def test_weights_by_propensity_stand_for_every_item_also_for_those_that_are_never_best():
    random = np.random.default_rng(6)
    values = (np.linspace(3, -3, 12) + 0.3 * random.normal(size=(100, 12))).astype(np.float32)
    assert len(set(values.argmax(axis=1))) < 6
    weights, lists = np.zeros(12), 12_000
    for _ in range(lists):
        one = thompson(values, 1, free(12), random, floor=0.3)
        weights[one.places[0]] += 1 / one.propensities[0]
    # The standard error of an item that only the floor shows is sqrt(12 / 0.3 / lists) = 0.06.
    assert weights / lists == pytest.approx(np.ones(12), abs=0.25)
    assert all(p >= FLOOR / 12 for p in thompson(values, 12, free(12), random).propensities)


def test_draws_are_bounded():
    assert [draws_of(n) for n in (0, 100, 1000, 2000, 10**6)] == [500, 500, 200, 100, 100]


def record(number, body):
    return LogRecord(number, START, body)


def shown(token, item, position=1, user="u"):
    return Event(token, user, item, EventType.IMPRESSION, START, attribution_token=token, position=position)


def clicked(token, item, kind=EventType.CLICK, user="u"):
    return Event(f"c-{token}-{kind}", user, item, kind, START, attribution_token=token)


def learned(*events, open_impressions=100):
    made = Outcomes(RULES, open_impressions=open_impressions, max_items=50)
    made.apply(record(number, event) for number, event in enumerate(events))
    return made


def means(outcomes, *items):
    shapes, rates = outcomes.posterior(items)
    return (shapes / rates).tolist()


def test_an_item_never_shown_is_as_good_as_any():
    assert learned().posterior(["x"])[0].tolist() == [PRIOR]
    assert means(learned(), "x") == [1.0]


def test_what_is_clicked_rises_and_what_is_passed_over_falls():
    events = [shown(f"a{n}", "a") for n in range(50)] + [shown(f"b{n}", "b") for n in range(50)]
    outcomes = learned(*events, *(clicked(f"a{n}", "a") for n in range(20)))
    a, b, new = means(outcomes, "a", "b", "new")
    assert a > new > b
    deviations = outcomes.lifts(["a", "new"], 4000, np.random.default_rng(0)).std(axis=0)
    assert deviations[0] < deviations[1] == pytest.approx(1.0, abs=0.1)


def test_low_places_are_not_held_against_an_item():
    high = [shown(f"h{n}", f"h{n % 5}", 1) for n in range(200)]
    low = [shown(f"l{n}", f"l{n % 5}", 30) for n in range(200)]
    clicks = [clicked(f"h{n}", f"h{n % 5}") for n in range(100)] + [clicked(f"l{n}", f"l{n % 5}") for n in range(10)]
    top, bottom = means(learned(*high, *low, *clicks), "h0", "l0")
    assert top == pytest.approx(bottom, rel=0.25)


@pytest.mark.parametrize(
    "event",
    [
        clicked("t", "another item"),
        clicked("never shown", "a"),
        clicked("t", "a", user="another"),
        clicked("t", "a", EventType.DISLIKE),
        Event("x", "u", "a", EventType.CLICK, START),
    ],
    ids=["item", "token", "user", "dislike", "no token"],
)
def test_what_does_not_belong_to_an_impression_is_not_counted(event):
    assert means(learned(shown("t", "a"), event), "a") == means(learned(shown("t", "a")), "a")


def test_an_impression_succeeds_once_also_when_its_outcome_arrives_first():
    once = means(learned(shown("t", "a"), clicked("t", "a")), "a")
    many = learned(shown("t", "a"), clicked("t", "a"), clicked("t", "a", EventType.LIKE), shown("t", "a"))
    assert means(many, "a") == once
    assert means(learned(clicked("t", "a"), shown("t", "a")), "a") == once
    never = means(learned(shown("t", "a")), "a")
    assert means(learned(clicked("t", "a", user="another"), shown("t", "a")), "a") == never


def test_a_replay_gives_the_same_and_a_forgotten_user_leaves_no_trace():
    events = [shown("t1", "a"), clicked("t1", "a"), shown("t2", "b", user="gone"), clicked("t2", "b", user="gone")]
    first, again = learned(*events), learned(*events)
    assert means(first, "a", "b") == means(again, "a", "b")
    first.apply([record(99, UserForgotten("gone"))])
    assert means(first, "a", "b") == means(learned(*events[:2]), "a", "b")
    # Nothing is left to be joined either: neither an open impression nor an outcome that waits for one.
    first.apply([record(100, clicked("t2", "b", user="gone")), record(101, UserForgotten("gone"))])
    first.apply([record(102, shown("t2", "b", user="gone"))])
    assert means(first, "b") == means(learned(*events[:2], shown("t2", "b")), "b")
    first.reset()
    assert means(first, "a", "b") == [1.0, 1.0]


def test_old_impressions_and_items_past_the_bound_are_left_alone():
    outcomes = learned(shown("t1", "a"), shown("t2", "a"), clicked("t1", "a"), open_impressions=1)
    assert means(outcomes, "a") == means(learned(shown("t1", "a"), shown("t2", "a")), "a")
    # Forgetting takes back those that are still open, and no others.
    outcomes.apply([record(9, UserForgotten("u"))])
    assert means(outcomes, "a") == means(learned(shown("t1", "a")), "a")
    many = learned(*(shown(f"t{n}", f"i{n}") for n in range(60)))
    assert means(many, "i59") == [1.0]


async def test_thompson_is_asked_for_and_the_impressions_carry_its_propensities(house):
    await house.train()
    options = replace(NO_OPTIONS, exploration_method=ExplorationMethod.THOMPSON)
    answers = [await house.ask(k=20, explore=True, selection=options) for _ in range(4)]
    await house.recorder.flush()
    assert len(house.near.written) == 20
    told = [one.propensity for answer in answers for one in answer.results]
    assert [event.propensity for event in house.near.written] == told[:20]
    assert all(0 < one <= 1 for one in told)
    assert len({tuple(one.item_id for one in answer.results) for answer in answers}) > 1
