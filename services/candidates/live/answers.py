"""Answers given before, for the same question asked again."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.candidates.queries import CandidateAnswer, CandidateQuery
    from shared.data.nouns import HistoryEvent

USUAL_CANDIDATES = 300
"""Candidates of an answer, some 200 bytes each with the evidence of a dozen sources: long ones take several places."""


@dataclass(frozen=True)
class AnswerAges:
    """How long an answer may be given again, seconds; 0: never."""

    always: float
    """Whatever others do meanwhile: new items and the likes of others show after this time."""
    unwritten: float
    """While no item is written and none becomes available: only the likes of others show after this time."""


@dataclass(frozen=True, eq=False)
class Basis:
    """What an answer rests on, taken before it is computed."""

    events: tuple[HistoryEvent, ...]
    """The user's history."""
    removals: int
    """`ItemTable.removals`."""
    writes: int
    """`Version.writes`."""
    changes_at: float
    """When the availability of an item changes next, unix seconds."""
    mark: int
    """`Answers.mark`."""


@dataclass(frozen=True, eq=False)
class _Given:
    answer: CandidateAnswer
    basis: Basis
    at: float


class Answers:
    """At most `max_answers` answers, fewer where they are long, the oldest dropped first; used in the event loop only.

    An answer is good while the user's history is the very same and nothing was taken out of the catalogue since: so a
    user's own event counts at once, and a deleted item is gone at once. For what else may change see `AnswerAges`.
    """

    def __init__(self, *, max_answers: int, ages: AnswerAges) -> None:
        self._max_answers = max_answers
        self._ages = ages
        self._longest = max(ages.always, ages.unwritten)
        self._given: OrderedDict[CandidateQuery, _Given] = OrderedDict()
        self._candidates = 0
        self._forgotten = 0

    def find(self, query: CandidateQuery, basis: Basis) -> CandidateAnswer | None:
        """Returns the answer to this question that would rest on this; None when there is none that is still good."""
        given = self._given.get(query)
        if given is None:
            return None
        if self._is_good(given, basis):
            return given.answer
        self._drop(query)
        return None

    @property
    def mark(self) -> int:
        """Changes whenever answers are forgotten."""
        return self._forgotten

    def keep(self, query: CandidateQuery, basis: Basis, answer: CandidateAnswer) -> None:
        """Remembers an answer, unless answers were forgotten since it was begun."""
        if self._longest <= 0 or basis.mark != self._forgotten:
            return
        self._drop(query)
        self._given[query] = _Given(answer, basis, time.time())
        self._candidates += len(answer.candidates.item_ids)
        while len(self._given) > self._max_answers or self._candidates > USUAL_CANDIDATES * self._max_answers:
            self._drop(next(iter(self._given)))

    def clear(self) -> None:
        """Forgets all answers."""
        self._forgotten += 1
        self._given.clear()
        self._candidates = 0

    def _drop(self, query: CandidateQuery) -> None:
        given = self._given.pop(query, None)
        if given is not None:
            self._candidates -= len(given.answer.candidates.item_ids)

    def _is_good(self, given: _Given, basis: Basis) -> bool:
        before, now = given.basis, time.time()
        if before.events is not basis.events or before.removals != basis.removals:
            return False
        unwritten = before.writes == basis.writes and now < before.changes_at
        # A clock that was set back makes an answer too new, which is as bad as too old.
        return 0 <= now - given.at < (self._ages.unwritten if unwritten else self._ages.always)
