"""Variants by experiment: who is answered by which fusion, and what is said when that cannot be known."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from services.ranker.nouns import ExplainRequest, Question, RankRequest
from shared.data.nouns import UserForgotten
from shared.errors import NotFound

from .house import built, named, record


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
async def house(tmp_path, clock):
    house = built(tmp_path, experiment="trees", clock=clock, keep_s=10.0)
    await house.train("dot")
    clock.now = 100.0
    house.near.variants = {"u": "dot", "plain": "linear"}
    return house


async def test_the_assigned_variant_answers_every_call(house):
    assert (await house.ask("u")).variant == "dot"
    assert (await house.ask("plain")).variant == "linear"
    assert (await house.ask("outside")).variant == "linear"
    assert (await house.recommender.rank(RankRequest(Question("u"), ("i3", "i4")))).variant == "dot"
    assert (await house.recommender.explain(ExplainRequest(Question("u"), ("i3",)))).variant == "dot"


async def test_the_answer_is_the_one_of_that_variant(house):
    assigned, named_by_request = await house.ask("u"), await house.ask("u", question=Question("u", variant="dot"))
    assert [(one.item_id, one.score) for one in assigned.results] == [
        (one.item_id, one.score) for one in named_by_request.results
    ]
    default = await house.ask("u", question=Question("u", variant="linear"))
    assert [one.score for one in default.results] != [one.score for one in assigned.results]


async def test_who_names_a_variant_or_a_version_or_no_user_is_in_no_experiment(house):
    assert (await house.ask(question=Question("u", variant="linear"))).variant == "linear"
    version = house.shelf.current.version
    assert (await house.ask(question=Question("u", model_version=version))).variant == "linear"
    history = tuple(house.near.histories["u"])
    assert (await house.ask(question=Question("", history=history))).variant == "linear"
    assert house.near.assigned == []
    with pytest.raises(NotFound):
        await house.ask(question=Question("u", variant="none"))


async def test_without_the_evaluator_the_default_answers_and_says_so(house, clock):
    house.near.down = {"evaluator"}
    answer = await house.ask("u")
    assert (answer.variant, named(answer)) == ("linear", {"evaluator": "default_variant"})
    house.near.down = set()
    answer = await house.ask("u")
    assert (answer.variant, named(answer)) == ("dot", {})
    # What is known already holds, however old it is: nobody changes sides.
    house.near.down = {"evaluator"}
    clock.now += 1_000
    answer = await house.ask("u")
    assert (answer.variant, named(answer)) == ("dot", {})


async def test_an_experiment_that_has_ended_lets_everybody_go(house, clock):
    await house.ask("u")
    house.near.ended = True
    clock.now += 61
    for _ in range(2):
        answer = await house.ask("u")
        assert (answer.variant, named(answer)) == ("linear", {"evaluator": "default_variant"})
        assert "no experiment" in answer.degraded[0].reason


async def test_an_assigned_variant_that_is_not_loaded_is_named(house):
    house.near.variants["u"] = "deep"
    answer = await house.ask("u")
    assert (answer.variant, named(answer)) == ("linear", {"evaluator": "default_variant"})
    assert answer.degraded[0].reason == "experiment 'trees' assigns 'deep'; loaded are dot, linear"


async def test_assignments_are_kept_for_a_while_and_not_for_all(house, clock):
    await house.ask("u", question=Question("u", as_of=datetime.now(UTC)))
    await house.ask("u")
    assert house.near.assigned == ["u"]
    clock.now += 61
    house.near.variants["u"] = "linear"
    # Kept answers belong to the variant that gave them.
    assert (await house.ask("u")).variant == "linear"
    assert house.near.assigned == ["u", "u"]
    for other in ("a", "b", "c"):
        await house.ask(other)
    await house.ask("u")
    assert house.near.assigned[-1] == "u"


async def test_an_erased_user_is_assigned_anew(house):
    await house.ask("u")
    house.recommender.assign.apply([record(900, UserForgotten("u"))])
    await house.ask("u")
    assert house.near.assigned == ["u", "u"]
    house.recommender.assign.reset()
    await house.ask("u")
    assert len(house.near.assigned) == 3


async def test_without_an_experiment_nobody_is_asked(tmp_path):
    house = built(tmp_path)
    assert (await house.ask("u")).variant == ""
    await house.train("dot")
    assert (await house.ask("u")).variant == "linear"
    assert house.near.assigned == []
