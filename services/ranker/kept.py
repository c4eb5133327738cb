"""Answers that are given again while nothing has changed for their user."""

from __future__ import annotations

import random
import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from shared.data.nouns import Event, EventType, UserForgotten
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from services.ranker.features.history_mark import HistoryMark
    from services.ranker.items.live import LiveItems
    from services.ranker.nouns import Answer, RecommendRequest
    from services.ranker.pipeline.call import Call
    from shared.data.nouns import ItemFilter, LogRecord

ITEMS_CHANGED_S = 0.5
"""Age up to which an answer is given again once items have changed since: new ones shall soon be seen."""
SETTLED_S = 10.0
"""For this time after a change of items an answer is given again no longer than that either: candidates may not have
heard of the change yet, or answer from what it computed half a second before."""
SWAP_S = 2.0
"""Time within which both versions of candidates may answer while one takes the other's place."""
SHORTEST = 0.5
"""Share of the longest age that an answer may reach at least; how much longer it may grow is drawn. Answers that were
computed together, after a start or a new model, would else be too old together, and all be computed at once."""


@dataclass(frozen=True, slots=True)
class Basis:
    """What an answer rests on, taken before its user's history is read; `at` is of the clock, seconds."""

    mark: int
    item_changes: int
    at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """An answer with the state it was computed from."""

    answer: Answer
    history: HistoryMark
    model_version: str
    candidates_version: str
    """Empty when the ranker answered without candidates."""
    rules_version: int
    basis: Basis
    settled: bool
    """Whether items had not changed for a while when it was begun, see `SETTLED_S`."""
    opens_at: float
    """When an item becomes available next, unix seconds."""
    max_age_s: float
    size: int


class KeptAnswers:
    """Answers by request, of users whose history is still the one that they were computed from.

    The history is read for every call before this is asked, so an event that was written is never overlooked; the
    log that the ranker follows only frees the memory sooner. An answer is not kept when chance took part, when it
    carries reasons, brings its own history, pins a version or a time, or when anything was degraded; nor when a user
    was erased while it was computed. Used in the event loop only.

    In memory are at most `max_results` results of answers and ids that their requests name, together. The least
    recently used answer is dropped first; one that is too old is when it has become that, whatever room there is.
    """

    def __init__(
        self,
        live: LiveItems,
        *,
        max_age_s: float,
        max_results: int,
        clock: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """Keeps nothing yet; `clock` is that of `live`, `draw` gives even numbers from 0 to 1."""
        self._live = live
        self._max_age_s = max_age_s
        self._max_results = max_results
        self._clock = clock
        self._draw = draw
        self._kept: OrderedDict[RecommendRequest, Kept] = OrderedDict()
        self._of_user: dict[str, set[RecommendRequest]] = {}
        self._size = 0
        self._forgotten = 0
        self._candidates: dict[str, float] = {}

    def basis(self) -> Basis:
        """Returns what an answer rests on that is begun now."""
        return Basis(self._forgotten, self._live.item_changes, self._clock())

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

    def note_candidates(self, version: str) -> None:
        """Is told of the version that candidates answered a call with that asked for none."""
        now = self._clock()
        self._candidates[version] = now
        self._candidates = {one: at for one, at in self._candidates.items() if now - at <= SWAP_S}

    def find(
        self, call: Call, request: RecommendRequest, rules_version: int, may_show: Callable[[str], bool]
    ) -> Answer | None:
        """Returns an answer that still holds; `may_show` says of each of its items whether it may still be shown."""
        if not self.may_keep(request):
            return None
        key = _key(request)
        kept = self._kept.get(key)
        if kept is not None and not call.degraded:
            if self._holds(kept, call, rules_version) and all(may_show(one.item_id) for one in kept.answer.results):
                self._kept.move_to_end(key)
                metrics.REPLY_CACHE.labels("kept").inc()
                return kept.answer
            self._drop(key)
        metrics.REPLY_CACHE.labels("computed").inc()
        return None

    def put(self, call: Call, request: RecommendRequest, rules_version: int, basis: Basis, answer: Answer) -> None:
        """Keeps an answer; `rules_version` is that from before it was computed."""
        if not self.may_keep(request) or answer.degraded or not answer.results or basis.mark != self._forgotten:
            return
        key = _key(request)
        before = self._kept.get(key)
        if before is not None and before.basis.at > basis.at:
            return
        self._drop(key)
        asked_at, openings = call.at.timestamp(), self._live.openings
        # First: what it passes over is in `last`.
        opens_at = openings.after(asked_at)
        kept = Kept(
            answer=answer,
            history=call.user().mark,
            model_version=_model_version(call),
            candidates_version=answer.models.get("candidates", ""),
            rules_version=rules_version,
            basis=basis,
            settled=min(basis.at - self._live.changed_at, asked_at - openings.last) >= SETTLED_S,
            opens_at=opens_at,
            max_age_s=self._max_age_s * (SHORTEST + (1 - SHORTEST) * self._draw()),
            size=len(answer.results) + _asked_ids(request),
        )
        self._kept[key] = kept
        self._of_user.setdefault(key.question.user_id, set()).add(key)
        self._size += kept.size
        while self._kept and self._is_too_much():
            self._drop(next(iter(self._kept)))
        metrics.REPLY_CACHE_RESULTS.set(self._size)

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Drops the answers of users who have done something, or were erased."""
        for record in records:
            match record.body:
                case Event(type=kind, user_id=user_id) if kind is not EventType.IMPRESSION:
                    self._drop_user(user_id)
                case UserForgotten(user_id):
                    self.forget(user_id)

    def forget(self, user_id: str) -> None:
        """Drops the answers of a user who was erased, also those that are being computed."""
        self._forgotten += 1
        self._drop_user(user_id)

    def clear(self) -> None:
        """Drops all answers, also those that are being computed."""
        self._forgotten += 1
        self._kept.clear()
        self._of_user.clear()
        self._size = 0
        metrics.REPLY_CACHE_RESULTS.set(0)

    def reset(self) -> None:
        """Drops all answers: the log was replaced by another one."""
        self.clear()

    def _holds(self, kept: Kept, call: Call, rules_version: int) -> bool:
        unchanged = (
            kept.settled and kept.basis.item_changes == self._live.item_changes and call.at.timestamp() < kept.opens_at
        )
        age = self._clock() - kept.basis.at
        return (
            age < (kept.max_age_s if unchanged else min(ITEMS_CHANGED_S, kept.max_age_s))
            and kept.model_version == _model_version(call)
            and kept.rules_version == rules_version
            and kept.candidates_version in ("", self._newest_candidates())
            and kept.history == call.user().mark
        )

    def _newest_candidates(self) -> str:
        """Returns the newest of the versions that answered last; while versions are swapped, both do.

        Versions begin with the time of their making. After a roll-back the older one is the newest again as soon as
        the other one has not answered for `SWAP_S`.
        """
        return max(self._candidates, default="")

    def _is_too_much(self) -> bool:
        oldest = next(iter(self._kept.values()))
        return self._size > self._max_results or self._clock() - oldest.basis.at >= self._max_age_s

    def _drop_user(self, user_id: str) -> None:
        for key in tuple(self._of_user.get(user_id, ())):
            self._drop(key)

    def _drop(self, key: RecommendRequest) -> None:
        kept = self._kept.pop(key, None)
        if kept is None:
            return
        self._size -= kept.size
        metrics.REPLY_CACHE_RESULTS.set(self._size)
        own = self._of_user[key.question.user_id]
        own.discard(key)
        if not own:
            del self._of_user[key.question.user_id]


def _key(request: RecommendRequest) -> RecommendRequest:
    # What is recorded and what is told of an answer do not change the list.
    return replace(request, skip_impressions=False, include_titles=False)


def _model_version(call: Call) -> str:
    return "" if call.model is None else call.model.version


def _asked_ids(request: RecommendRequest) -> int:
    """Returns how many ids, categories and attribute values a request names: they are kept as well."""
    options = request.selection
    filters = (request.item_filter, *(rule.when for rule in options.rules))
    return len(options.block_item_ids) + len(options.pins) + len(options.category_caps) + sum(map(_named, filters))


def _named(one: ItemFilter) -> int:
    categories = len(one.categories_any) + len(one.categories_all) + len(one.categories_none)
    return len(one.exclude_item_ids) + categories + sum(len(rule.any_of or ()) + 1 for rule in one.attributes)
