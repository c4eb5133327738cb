"""A deterministic implementation of the evaluator's ports."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest

from services.evaluator.ports import Answer, CandidatesInfo, LogSnapshot, RankerInfo, Scores, Version
from shared.errors import NotFound


@dataclass
class InMemoryPath:
    """Ranker and candidates in one: ranks `order` (a callable of the question, or a list) and keeps what it was asked.

    `scores` by source and item; a source without them proposes nothing.
    """

    catalogue: tuple[str, ...]
    order: dict[str, object]
    scores: dict[str, dict[str, float]] = field(default_factory=dict)
    versions: tuple[Version, ...] = ()
    partner_versions: tuple[Version, ...] = ()
    degraded: tuple[str, ...] = ()
    asked: list[tuple] = field(default_factory=list)

    def _ranked(self, name, question, pool):
        order = self.order[name]
        ranked = order(question) if callable(order) else order
        return [item for item in ranked if item in pool]

    def _unseen(self, question):
        seen = {event.item_id for event in question.history} | question.exclude
        return [item for item in self.catalogue if item not in seen]

    async def recommend(self, question, *, version, variant, k):
        self.asked.append(("recommend", question, version, variant, k))
        return Answer(tuple(self._ranked(f"fusion{variant}", question, self._unseen(question))[:k]), self.degraded)

    async def rank(self, question, *, version, variant, item_ids, k):
        self.asked.append(("rank", question, version, variant, tuple(item_ids), k))
        return Answer(tuple(self._ranked(f"fusion{variant}", question, item_ids)[:k]), self.degraded)

    async def retrieve(self, question, *, version, source, k):
        self.asked.append(("retrieve", question, version, source, k))
        return Answer(tuple(self._ranked(source, question, self._unseen(question))[:k]))

    async def score(self, question, *, version, source, item_ids):
        self.asked.append(("score", question, version, source, tuple(item_ids)))
        own = self.scores.get(source, {})
        return Scores({item: own[item] for item in item_ids if item in own})


class InMemoryRanker:
    def __init__(self, path):
        self.recommend, self.rank, self._path = path.recommend, path.rank, path

    async def info(self, _version=""):
        return RankerInfo("e1", ("gbdt", "linear"), "gbdt", self._path.versions)


class InMemoryCandidates:
    def __init__(self, path):
        self.retrieve, self.score, self._path = path.retrieve, path.score, path

    async def info(self, version=""):
        if version and version not in {one.version for one in self._path.partner_versions}:
            raise NotFound(f"no candidates version {version}")
        return CandidatesInfo("e1", ("als", "popular"), self._path.partner_versions)


@dataclass
class InMemoryLog:
    snapshot: LogSnapshot
    asked: list[int] = field(default_factory=list)

    async def read(self, up_to, on_records):
        self.asked.append(up_to)
        on_records(len(self.snapshot.events))
        return self.snapshot


@dataclass
class KeptProgress:
    said: list[tuple[str, int, int]] = field(default_factory=list)

    def update(self, stage, done, total):
        self.said.append((stage, done, total))


@pytest.fixture
def in_memory():
    return SimpleNamespace(path=InMemoryPath, ranker=InMemoryRanker, candidates=InMemoryCandidates, log=InMemoryLog)


@pytest.fixture
def progress():
    return KeptProgress()
