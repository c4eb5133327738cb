"""Answers given before, for the same question asked again."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.candidates.queries import CandidateAnswer, CandidateQuery
    from shared.data.nouns import HistoryEvent

USUAL_SIZE = 300
"""Candidates of an answer, some 300 bytes each with the evidence of a dozen sources; longer ones take more places."""


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
    mark: int
    """`Answers.mark`."""
    clock: float
    """Now, unix seconds."""
    changes_at: float
    """When the availability of an item changes next, unix seconds."""
    at: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, eq=False)
class _Given:
    answer: CandidateAnswer
    basis: Basis
    size: int


class Answers:
    """At most `max_answers` answers, fewer where they are long, the oldest dropped first; used in the event loop only.

    An answer is good while the user's history is the very same and nothing was taken out of the catalogue since: so a
    user's own event counts at once, and a deleted item is gone at once. For what else may change see `AnswerAges`.
    """

    def __init__(self, *, max_answers: int, ages: AnswerAges) -> None:
        self._max_answers = max_answers
        self._always = ages.always
        self._unwritten = max(ages.always, ages.unwritten)
        self._given: OrderedDict[CandidateQuery, _Given] = OrderedDict()
        self._size = 0
        self._forgotten = 0

    def find(self, query: CandidateQuery, basis: Basis) -> CandidateAnswer | None:
        """Returns the answer to this question that would rest on this; None when there is none that is still good."""
        given = self._given.get(query)
        if given is None:
            return None
        if self._is_good(given.basis, basis):
            return given.answer
        self._drop(query)
        return None

    @property
    def mark(self) -> int:
        """Changes whenever answers are forgotten."""
        return self._forgotten

    def keep(self, query: CandidateQuery, basis: Basis, answer: CandidateAnswer) -> None:
        """Remembers an answer, unless answers were forgotten since it was begun, or one that was begun later is here.

        Nor is one remembered that a source failed to take part in: the next may have it all.
        """
        if (
            self._unwritten <= 0
            or basis.mark != self._forgotten
            or any(one.failed for one in answer.candidates.reports)
        ):
            return
        before = self._given.get(query)
        if before is not None and before.basis.at > basis.at:
            return
        self._drop(query)
        # The question is kept as well, with all the ids in it.
        asked = len(query.score_item_ids) + len(query.item_filter.exclude_item_ids)
        size = len(answer.candidates.item_ids) + asked
        self._given[query] = _Given(answer, basis, size)
        self._size += size
        while self._given and self._is_too_much(basis.at):
            self._drop(next(iter(self._given)))

    def clear(self) -> None:
        """Forgets all answers."""
        self._forgotten += 1
        self._given.clear()
        self._size = 0

    def _drop(self, query: CandidateQuery) -> None:
        given = self._given.pop(query, None)
        if given is not None:
            self._size -= given.size

    def _is_too_much(self, now: float) -> bool:
        oldest = next(iter(self._given.values()))
        is_full = len(self._given) > self._max_answers or self._size > USUAL_SIZE * self._max_answers
        return is_full or now - oldest.basis.at >= self._unwritten

    def _is_good(self, before: Basis, now: Basis) -> bool:
        if before.events is not now.events or before.removals != now.removals:
            return False
        is_unwritten = before.writes == now.writes and now.clock < before.changes_at
        return now.at - before.at < (self._unwritten if is_unwritten else self._always)
