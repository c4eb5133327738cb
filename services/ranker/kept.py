"""Answers that are given again while nothing has changed for their user."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.data.nouns import Event, EventType, UserForgotten
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.ranker.items.live import LiveItems
    from services.ranker.nouns import Answer, RecommendRequest
    from services.ranker.pipeline.call import Call
    from shared.data.nouns import HistoryEvent, LogRecord

ITEMS_CHANGED_S = 0.5
"""Age up to which an answer is given again once items were written since: new ones shall soon be seen."""


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer with the state it was computed from; `at` is of the monotonic clock, seconds."""

    answer: Answer
    history: tuple[HistoryEvent, ...]
    model_version: str
    rules_version: int
    item_changes: int
    at: float


class KeptAnswers:
    """Answers by request, of users whose history is still the one that they were computed from.

    The history is read for every call before this is asked, so an event that was written is never overlooked; the
    log that the ranker follows only frees the memory sooner. An answer is not kept when chance took part, when it
    carries reasons, brings its own history, pins a version or a time, or when anything was degraded.
    """

    def __init__(
        self,
        live: LiveItems,
        *,
        max_age_s: float,
        max_results: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live = live
        self._max_age_s = max_age_s
        self._max_results = max_results
        self._clock = clock
        self._kept: OrderedDict[RecommendRequest, Kept] = OrderedDict()
        self._of_user: dict[str, set[RecommendRequest]] = {}
        self._results = 0
        self._neighbours: dict[str, str] = {}

    def may_keep(self, request: RecommendRequest) -> bool:
        """Returns whether the answer to a request may be given again at all."""
        question = request.question
        return (
            self._max_age_s > 0
            and bool(question.user_id)
            and question.history is None
            and question.as_of is None
            and not (question.model_version or request.explore or request.explain)
        )

    def find(
        self, call: Call, request: RecommendRequest, rules_version: int, allowed: Callable[[str], bool]
    ) -> Answer | None:
        """Returns an answer that still holds; `allowed` says of each of its items whether it may still be shown."""
        if not self.may_keep(request):
            return None
        key = _key(request)
        kept = self._kept.get(key)
        if kept is None or call.degraded or not self._holds(kept, call, rules_version):
            metrics.REPLY_CACHE.labels("computed").inc()
            return None
        pinned = {pin.item_id for pin in request.selection.pins}
        if not all(one.item_id in pinned or allowed(one.item_id) for one in kept.answer.results):
            self._drop(key)
            metrics.REPLY_CACHE.labels("computed").inc()
            return None
        self._kept.move_to_end(key)
        metrics.REPLY_CACHE.labels("kept").inc()
        return kept.answer

    def put(self, call: Call, request: RecommendRequest, rules_version: int, item_changes: int, answer: Answer) -> None:
        """Keeps an answer; `rules_version` and `item_changes` are those from before it was computed."""
        if not self.may_keep(request) or answer.degraded or not answer.results:
            return
        neighbours = {kind: version for kind, version in answer.models.items() if kind == "candidates"}
        if neighbours != self._neighbours:
            # Another candidates version answers now: what the one before gave is not what would be given.
            self.clear()
            self._neighbours = neighbours
        key = _key(request)
        self._drop(key)
        version = "" if call.model is None else call.model.version
        history = call.user().history
        self._kept[key] = Kept(answer, history, version, rules_version, item_changes, self._clock())
        self._of_user.setdefault(key.question.user_id, set()).add(key)
        self._results += len(answer.results)
        while self._results > self._max_results and self._kept:
            self._drop(next(iter(self._kept)))
        metrics.REPLY_CACHE_RESULTS.set(self._results)

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Drops the answers of users who have done something, or were erased."""
        for record in records:
            match record.body:
                case Event(type=kind, user_id=user_id) if kind is not EventType.IMPRESSION:
                    self.forget(user_id)
                case UserForgotten(user_id):
                    self.forget(user_id)

    def forget(self, user_id: str) -> None:
        """Drops the answers of a user."""
        for key in tuple(self._of_user.get(user_id, ())):
            self._drop(key)

    def clear(self) -> None:
        """Drops all answers."""
        self._kept.clear()
        self._of_user.clear()
        self._results = 0

    def reset(self) -> None:
        """Drops all answers: the log was replaced by another one."""
        self.clear()

    def _holds(self, kept: Kept, call: Call, rules_version: int) -> bool:
        age = self._clock() - kept.at
        version = "" if call.model is None else call.model.version
        most = self._max_age_s if kept.item_changes == self._live.item_changes else ITEMS_CHANGED_S
        return (
            age < min(most, self._max_age_s)
            and kept.model_version == version
            and kept.rules_version == rules_version
            and kept.history == call.user().history
        )

    def _drop(self, key: RecommendRequest) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._results -= len(kept.answer.results)
        own = self._of_user[key.question.user_id]
        own.discard(key)
        if not own:
            del self._of_user[key.question.user_id]


def _key(request: RecommendRequest) -> RecommendRequest:
    # What is recorded and what is told of an answer do not change the list.
    return replace(request, skip_impressions=False, include_titles=False)
