"""Answers given a moment ago, for the same question asked again."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from services.candidates.queries import CandidateAnswer, CandidateQuery
    from shared.data.nouns import HistoryEvent


@dataclass(frozen=True, eq=False)
class _Given:
    answer: CandidateAnswer
    events: tuple[HistoryEvent, ...]
    removals: int
    at: float


class Answers:
    """At most `max_answers` answers, none older than `max_age_s` seconds; used in the event loop only.

    An answer is good while the user's history is the very same and nothing was taken out of the catalogue since: so a
    user's own event counts at once, a deleted item is gone at once, and what others do shows after `max_age_s`.
    """

    def __init__(self, *, max_answers: int, max_age_s: float) -> None:
        self._max_answers = max_answers
        self._max_age_s = max_age_s
        self._given: OrderedDict[CandidateQuery, _Given] = OrderedDict()
        self._forgotten = 0

    def find(self, query: CandidateQuery, events: tuple[HistoryEvent, ...], removals: int) -> CandidateAnswer | None:
        """Returns the answer to this question about this history; None when there is none that is still good."""
        given = self._given.get(query)
        if given is None:
            return None
        fresh = time.monotonic() - given.at < self._max_age_s
        if fresh and given.events is events and given.removals == removals:
            return given.answer
        del self._given[query]
        return None

    @property
    def mark(self) -> int:
        """Changes whenever answers are forgotten."""
        return self._forgotten

    def keep(
        self,
        query: CandidateQuery,
        events: tuple[HistoryEvent, ...],
        removals: int,
        answer: CandidateAnswer,
        mark: int,
    ) -> None:
        """Remembers an answer, unless answers were forgotten since the `mark` was taken, when it was begun."""
        if self._max_age_s <= 0 or mark != self._forgotten:
            return
        now = time.monotonic()
        self._given[query] = _Given(answer, events, removals, now)
        self._given.move_to_end(query)
        # The oldest are first: too old ones go, so that memory is bounded by what is asked in that time, too.
        while len(self._given) > self._max_answers or next(iter(self._given.values())).at <= now - self._max_age_s:
            self._given.popitem(last=False)

    def clear(self) -> None:
        """Forgets all answers."""
        self._forgotten += 1
        self._given.clear()
