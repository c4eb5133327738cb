"""What is kept between calls keeps nothing of a user who was forgotten while it was made."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from services.candidates.catalogue.table import ItemTable
from services.candidates.live.answers import USUAL_CANDIDATES, AnswerAges, Answers, Basis
from services.candidates.live.learner import Learner
from services.candidates.live.profiles import Profiles
from services.candidates.merge.evidence import Evidence
from services.candidates.queries import CandidateAnswer, CandidateQuery, CandidateSet, Served
from services.candidates.workers import Workers
from shared.data.nouns import EventType, HistoryEvent, Item, Temperature
from shared.data.preferences import PreferenceRules

START = datetime(2020, 1, 1, tzinfo=UTC)
EVENTS = (HistoryEvent("a", EventType.LIKE, START),)
QUERY = CandidateQuery("u", None, 5)


def table():
    made = ItemTable()
    for item_id in ("a", "b"):
        made.put(Item(item_id))
    return made


def basis(answers, events=EVENTS, removals=0, writes=0, changes_at=float("inf")):
    return Basis(events, removals, writes, changes_at, answers.mark)


def answer(candidates=1):
    ids = [f"item-{number}" for number in range(candidates)]
    nothing = Evidence((), np.zeros((candidates, 0), np.int64), np.zeros((candidates, 0), np.float32))
    found = CandidateSet(ids, np.zeros(candidates), np.zeros(candidates, bool), nothing, ())
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


def test_an_answer_is_given_again_while_nothing_it_rests_on_has_changed():
    answers = Answers(max_answers=5, ages=AnswerAges(0.0, 60.0))

    def found_after(**change):
        answers.keep(QUERY, basis(answers), answer())
        return answers.find(QUERY, basis(answers, **change)) is not None

    assert found_after()
    assert not found_after(events=(*EVENTS,))
    assert not found_after(removals=1)
    assert not found_after(writes=1)
    answers.keep(QUERY, basis(answers, changes_at=time.time() - 1), answer())
    assert answers.find(QUERY, basis(answers)) is None


def test_writes_of_others_void_an_answer_after_the_shorter_age_only():
    answers = Answers(max_answers=5, ages=AnswerAges(60.0, 0.0))
    answers.keep(QUERY, basis(answers), answer())
    assert answers.find(QUERY, basis(answers, writes=1)) is not None
    assert answers.find(QUERY, basis(answers, removals=1)) is None


def test_no_answer_is_kept_when_no_age_is_allowed():
    answers = Answers(max_answers=5, ages=AnswerAges(0.0, 0.0))
    answers.keep(QUERY, basis(answers), answer())
    assert answers.find(QUERY, basis(answers)) is None


def test_too_many_answers_push_the_oldest_out():
    answers = Answers(max_answers=2, ages=AnswerAges(60.0, 60.0))
    queries = [CandidateQuery(name, None, 5) for name in "abc"]
    for query in queries:
        answers.keep(query, basis(answers), answer())
    assert [answers.find(query, basis(answers)) is not None for query in queries] == [False, True, True]


def test_long_answers_take_the_places_of_several():
    answers = Answers(max_answers=4, ages=AnswerAges(60.0, 60.0))
    queries = [CandidateQuery(name, None, 5) for name in "abc"]
    for query in queries:
        answers.keep(query, basis(answers), answer(2 * USUAL_CANDIDATES))
    assert [answers.find(query, basis(answers)) is not None for query in queries] == [False, True, True]
    answers.keep(QUERY, basis(answers), answer(5 * USUAL_CANDIDATES))
    assert answers.find(QUERY, basis(answers)) is None


def test_the_table_knows_when_an_availability_changes_next():
    made = table()
    assert made.next_change(0.0) == float("inf")
    made.put(Item("a", available_from=START, available_until=START + timedelta(hours=1)))
    opens = START.timestamp()
    assert made.next_change(opens - 1) == opens
    assert made.next_change(opens) == opens + 3_600
    assert made.next_change(opens + 3_600) == float("inf")
    made.put(Item("a"))
    assert made.next_change(opens - 1) == float("inf")


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
