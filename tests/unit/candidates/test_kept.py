"""What is kept between calls keeps nothing of a user who was forgotten while it was made."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import numpy as np
import pytest

from services.candidates.catalogue.table import ItemTable
from services.candidates.live.answers import Answers
from services.candidates.live.learner import Learner
from services.candidates.live.profiles import Profiles
from services.candidates.queries import CandidateQuery
from services.candidates.workers import Workers
from shared.data.nouns import EventType, HistoryEvent, Item
from shared.data.preferences import PreferenceRules

START = datetime(2020, 1, 1, tzinfo=UTC)
EVENTS = (HistoryEvent("a", EventType.LIKE, START),)
QUERY = CandidateQuery("u", None, 5)


def table():
    made = ItemTable()
    for item_id in ("a", "b"):
        made.put(Item(item_id))
    return made


def test_an_answer_begun_before_a_forgetting_is_not_kept():
    answers = Answers(max_answers=5, max_age_s=1.0)
    mark = answers.mark
    answers.clear()
    answers.keep(QUERY, EVENTS, 0, "answer", mark)
    assert answers.find(QUERY, EVENTS, 0) is None
    answers.keep(QUERY, EVENTS, 0, "answer", answers.mark)
    assert answers.find(QUERY, EVENTS, 0) == "answer"
    assert answers.find(QUERY, EVENTS, 1) is None


def test_too_many_answers_push_the_oldest_out():
    answers = Answers(max_answers=2, max_age_s=60.0)
    queries = [CandidateQuery(name, None, 5) for name in "abc"]
    for query in queries:
        answers.keep(query, EVENTS, 0, query.user_id, answers.mark)
    assert [answers.find(query, EVENTS, 0) for query in queries] == [None, "b", "c"]


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
