"""What is kept between calls keeps nothing of a user who was forgotten while it was made."""

from __future__ import annotations

import asyncio
import weakref
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.candidates.catalogue.table import ItemTable
from services.candidates.live.answers import USUAL_SIZE, AnswerAges, Answers, Basis
from services.candidates.live.learner import Learner
from services.candidates.live.profiles import Profiles
from services.candidates.merge.evidence import Evidence
from services.candidates.queries import CandidateAnswer, CandidateQuery, CandidateSet, Served, SourceReport
from services.candidates.workers import Workers
from shared.data.nouns import EventType, HistoryEvent, Item, ItemFilter, Temperature
from shared.data.preferences import PreferenceRules

START = datetime(2020, 1, 1, tzinfo=UTC)
EVENTS = (HistoryEvent("a", EventType.LIKE, START),)
QUERY = CandidateQuery("u", None, 5)


def table():
    made = ItemTable()
    for item_id in ("a", "b"):
        made.put(Item(item_id))
    return made


def basis(answers, events=EVENTS, removals=0, writes=0, at=100.0, clock=0.0, changes_at=float("inf")):
    return Basis(events, removals, writes, answers.mark, clock, changes_at, at)


def answer(candidates=1, **report):
    ids = [f"item-{number}" for number in range(candidates)]
    nothing = Evidence((), np.zeros((candidates, 0), np.int64), np.zeros((candidates, 0), np.float32))
    reports = (SourceReport("als", 0, 0, **report),)
    found = CandidateSet(ids, np.zeros(candidates), np.zeros(candidates, bool), nothing, reports)
    return CandidateAnswer(found, Temperature.WARM, Served("1", "flat-1", ()), START)


def test_an_answer_begun_before_a_forgetting_is_not_kept():
    answers = Answers(max_answers=5, ages=AnswerAges(60.0, 60.0))
    begun = basis(answers)
    answers.clear()
    answers.keep(QUERY, begun, answer())
    assert answers.find(QUERY, basis(answers)) is None
    kept = answer()
    answers.keep(QUERY, basis(answers), kept)
    assert answers.find(QUERY, basis(answers)) is kept


@pytest.mark.parametrize(
    ("change", "seconds"),
    [
        ({}, 30),
        ({"events": (*EVENTS,)}, 0),
        ({"removals": 1}, 0),
        ({"writes": 1}, 5),
        ({"clock": 11.0}, 5),
        ({"removals": 1, "writes": 1}, 0),
    ],
)
def test_an_answer_is_given_again_as_long_as_what_it_rests_on_allows(change, seconds):
    answers = Answers(max_answers=5, ages=AnswerAges(5.0, 30.0))
    for age in (0.0, 4.9, 5.1, 29.9, 30.1):
        answers.keep(QUERY, basis(answers, changes_at=10.0), answer())
        found = answers.find(QUERY, basis(answers, at=100.0 + age, **change))
        assert (found is not None) == (age < seconds)


def test_the_longer_age_is_at_least_the_shorter():
    answers = Answers(max_answers=5, ages=AnswerAges(5.0, 0.0))
    answers.keep(QUERY, basis(answers), answer())
    assert answers.find(QUERY, basis(answers, at=104.0)) is not None


def test_no_answer_is_kept_when_no_age_is_allowed():
    answers = Answers(max_answers=5, ages=AnswerAges(0.0, 0.0))
    answers.keep(QUERY, basis(answers), answer())
    assert answers.find(QUERY, basis(answers)) is None


def test_an_answer_that_a_source_is_missing_from_is_not_kept():
    answers = Answers(max_answers=5, ages=AnswerAges(60.0, 60.0))
    answers.keep(QUERY, basis(answers), answer(failed=True))
    assert answers.find(QUERY, basis(answers)) is None


def test_a_slow_answer_does_not_replace_one_that_was_begun_later():
    answers = Answers(max_answers=5, ages=AnswerAges(60.0, 60.0))
    later = answer()
    answers.keep(QUERY, basis(answers, at=101.0, writes=1), later)
    answers.keep(QUERY, basis(answers, at=100.0), answer())
    assert answers.find(QUERY, basis(answers, at=102.0, writes=1)) is later


def found_of(answers, queries, at=100.0):
    return [answers.find(query, basis(answers, at=at)) is not None for query in queries]


def test_too_many_answers_push_the_oldest_out():
    answers = Answers(max_answers=2, ages=AnswerAges(60.0, 60.0))
    queries = [CandidateQuery(name, None, 5) for name in "abc"]
    for query in queries:
        answers.keep(query, basis(answers), answer())
    assert found_of(answers, queries) == [False, True, True]


def test_long_answers_and_long_questions_take_the_places_of_several():
    many = tuple(f"item-{number}" for number in range(2 * USUAL_SIZE))
    long_answers = [(CandidateQuery(name, None, 5), answer(2 * USUAL_SIZE)) for name in "abc"]
    scored = [(CandidateQuery(name, None, 5, score_item_ids=many), answer()) for name in "abc"]
    excluding = [
        (CandidateQuery(name, None, 5, item_filter=ItemFilter(exclude_item_ids=many)), answer()) for name in "abc"
    ]
    for asked in (long_answers, scored, excluding):
        answers = Answers(max_answers=5, ages=AnswerAges(60.0, 60.0))
        for query, given in asked:
            answers.keep(query, basis(answers), given)
        assert found_of(answers, [query for query, _ in asked]) == [False, True, True]


def test_memory_is_given_back_when_answers_are_too_old():
    answers = Answers(max_answers=5, ages=AnswerAges(5.0, 5.0))
    old, new = answer(), CandidateQuery("new", None, 5)
    gone = weakref.ref(old)
    answers.keep(QUERY, basis(answers), old)
    del old
    answers.keep(new, basis(answers, at=106.0), answer())
    assert gone() is None
    assert found_of(answers, [new], at=106.0) == [True]


def test_the_table_knows_when_an_availability_changes_next():
    made = table()
    assert made.next_change(0.0) == float("inf")
    made.put(Item("a", available_from=START, available_until=START + timedelta(hours=1)))
    made.put(Item("b", available_until=START + timedelta(minutes=5)))
    opens = START.timestamp()
    assert made.next_change(opens - 1) == opens
    assert made.next_change(opens) == opens + 300
    assert made.next_change(opens + 299) == opens + 300
    assert made.next_change(opens + 300) == opens + 3_600
    assert made.next_change(opens + 3_600) == float("inf")


def test_a_profile_is_the_same_one_while_the_history_is():
    profiles = Profiles(table(), PreferenceRules(), 5)
    first = profiles.of("u", EVENTS, 10.0)
    assert profiles.of("u", EVENTS, 20.0) is first
    assert profiles.of("u", (*EVENTS, EVENTS[0]), 20.0) is not first
    profiles.forget("u")
    assert profiles.of("u", EVENTS, 20.0) is not first


class Histories:
    """Answers when it is let."""

    def __init__(self):
        self.asked, self.let = asyncio.Event(), asyncio.Event()

    async def read(self, user_id):
        del user_id
        self.asked.set()
        await self.let.wait()
        return EVENTS


class Version:
    """What the learner asks of a version."""

    def __init__(self):
        self.table = table()
        self.item_factors = self
        self.can_learn = True
        self.added, self.moved = [], []

    def is_trained(self, row):
        return row == 0

    def fold_in(self, profile):
        del profile
        return np.ones(4, np.float32)

    def add(self, row, user_id, user, strength):
        del user
        self.added.append((row, user_id, strength))

    def forget(self, user_id):
        del user_id
        return []

    def drop(self, row, user_id):
        del row, user_id
        return False

    def learn(self, row):
        self.moved.append(row)


@pytest.mark.parametrize("how", ["forgotten", "taken back"])
async def test_likes_that_go_while_they_are_worked_on_teach_nothing(how):
    version, histories = Version(), Histories()
    learner = Learner(version, histories, PreferenceRules(), Workers(1, "test"))
    running = asyncio.create_task(learner.run())
    learner.add(0, "goes", 1.0)
    learner.add(1, "goes", 1.0)
    learner.add(1, "stays", 0.7)
    await histories.asked.wait()
    if how == "forgotten":
        learner.forget("goes")
    else:
        learner.take_back(1, "goes")
    histories.let.set()
    async with asyncio.timeout(10):
        while not version.moved:
            await asyncio.sleep(0.01)
    running.cancel()
    assert version.added == [(1, "stays", 0.7)]
