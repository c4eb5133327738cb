"""A version that follows the log: items come and go, likes are counted, histories stay fresh."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.candidates.live.answers import AnswerAges, Answers, Basis
from services.candidates.live.likes import LiveLikes
from services.candidates.live.profiles import Profiles
from shared.background import supervised
from shared.data.nouns import Event, Item, ItemDeleted, UserForgotten
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.candidates.live.enricher import Enricher
    from services.candidates.live.histories import LiveHistories
    from services.candidates.live.learner import Learner
    from services.candidates.versions.version import Version
    from services.candidates.workers import Courtesy, Workers
    from shared.data.log import EventFeed
    from shared.data.nouns import HistoryEvent, LogRecord
    from shared.data.preferences import PreferenceRules

log = structlog.get_logger(__name__)

SERVICE = "candidates"
APPLIED_IN_ONE_GO = 16
"""Records of the log between two looks at the calls that wait: some half a millisecond."""
REBUILD_POLL_S = 2.0
"""How often it is asked whether an index should be built anew, seconds."""


@dataclass(frozen=True)
class LiveLimits:
    """What a live version may keep in memory."""

    profiles: int
    """Users whose profiles are kept."""
    answers: int
    """Answers kept."""
    answer_ages: AnswerAges
    """How long they may be given again."""


class LiveVersion:
    """A version and the tasks that keep it live.

    One follows the log, one gives new items their vectors, one learns from their likes, one builds indexes anew.

    The version's data ends at a cursor of the log; following begins there, so that nothing is missed between
    training and serving, and nothing is lost by a restart.

    A forgotten user's history leaves the memory at once, and so do the likes known to be theirs from the popularity
    counts (`LiveLikes.forget`). What training learned of the user's events (item factors, item-item weights, the
    other likes) stays in the version: `docs/privacy.md`.
    """

    def __init__(
        self,
        version: Version,
        *,
        feed: EventFeed,
        enricher: Enricher,
        learner: Learner,
        builders: Workers,
        courtesy: Courtesy,
        histories: LiveHistories,
        rules: PreferenceRules,
        limits: LiveLimits,
    ) -> None:
        self.version = version
        self.profiles = Profiles(version.table, rules, limits.profiles)
        self.answers = Answers(max_answers=limits.answers, ages=limits.answer_ages)
        self.cursor = version.about.cursor
        self._feed = feed
        self._enricher = enricher
        self._learner = learner
        self._builders = builders
        self._courtesy = courtesy
        self._histories = histories
        self._likes = LiveLikes(version.live_sources, version.table, histories, rules)
        self._caught_up = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def reason(self) -> str:
        """Why the live state is behind; empty when it is not."""
        if not self._caught_up.is_set():
            return "the log has not been read to its end yet: answers come from the data of the last training"
        if self._enricher.reason:
            return f"{self._enricher.waiting} items wait for their text vectors: {self._enricher.reason}"
        return ""

    def basis(self, events: tuple[HistoryEvent, ...]) -> Basis:
        """Returns what an answer about this history rests on from now on."""
        table, now = self.version.table, time.time()
        return Basis(
            events, table.removals, self.version.writes, self.answers.mark, clock=now, changes_at=table.next_change(now)
        )

    def start(self) -> None:
        """Starts following."""
        self._tasks = [
            asyncio.create_task(supervised(self._follow, "log follower")),
            asyncio.create_task(supervised(self._enricher.run, "item enricher")),
            asyncio.create_task(supervised(self._learner.run, "item learner")),
            asyncio.create_task(supervised(self._rebuild, "index rebuilder")),
        ]

    async def settled(self, timeout_s: float) -> None:
        """Waits until the log is read to its end and new items have their vectors, at most `timeout_s` seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._caught_up.wait()
                await self._enricher.at_rest()

    async def stop(self) -> None:
        """Ends the tasks; the version still answers, from its last state."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # A cancelled task holds on to this object, which would hold on to the task: memory is for the next version.
        self._tasks.clear()

    async def _rebuild(self) -> None:
        while True:
            await asyncio.sleep(REBUILD_POLL_S)
            for one in self.version.indexes:
                if one.index.needs_rebuild():
                    log.info("index is rebuilt", name=one.name, type=one.index.type, pending=one.index.pending)
                    await self._builders.run(one.index.rebuild)

    async def _follow(self) -> None:
        async for batch in self._feed.follow(self._reset, self.cursor):
            for place, record in enumerate(batch.records):
                if place % APPLIED_IN_ONE_GO == 0:
                    await self._courtesy.give_way()
                self._apply_guarded(record)
            self.cursor = batch.cursor
            if batch.records:
                metrics.LOG_SEQUENCE.labels(SERVICE).set(batch.records[-1].sequence)
                metrics.CATALOGUE_ITEMS.labels(SERVICE).set(self.version.table.alive_count)
            if batch.caught_up:
                self._caught_up.set()

    def _apply_guarded(self, record: LogRecord) -> None:
        try:
            self._apply(record)
        except Exception:
            # The log does not change: read again, the record would fail again, and those before it count twice.
            log.exception("a record of the log could not be applied and is skipped", sequence=record.sequence)

    def _apply(self, record: LogRecord) -> None:
        match record.body:
            case Event() as event:
                change = self._likes.add(record.sequence, event)
                self._histories.add(record.sequence, event)
                self._learn(event, change)
                self._enrich(self.version.reviews.add(event))
            case Item() as item:
                self._put(item)
            case ItemDeleted(item_id):
                self._remove(item_id)
            case UserForgotten(user_id):
                self._likes.forget(record.sequence, user_id)
                self._histories.forget(record.sequence, user_id)
                self._learner.forget(user_id)
                self._enrich(self.version.reviews.forget(user_id))
                self.profiles.forget(user_id)
                self.answers.clear()

    def _learn(self, event: Event, change: float) -> None:
        if change:
            row = self.version.table.row_of(event.item_id)
            if change > 0:
                self._learner.add(row, event.user_id, change)
            else:
                self._learner.take_back(row, event.user_id)

    def _put(self, item: Item) -> None:
        row, changed = self.version.table.put(item)
        self._likes.grow(row + 1)
        if changed or not self.version.has_vectors(row):
            self._enricher.add(row)

    def _enrich(self, item_ids: Iterable[str]) -> None:
        """Asks for new vectors of items whose reviews are other ones now."""
        for item_id in item_ids:
            row = self.version.table.rows.get(item_id)
            if row is not None and self.version.table.item(row) is not None:
                self._enricher.add(row, own_text=False)

    def _remove(self, item_id: str) -> None:
        self.version.reviews.remove(item_id)
        row = self.version.table.remove(item_id)
        if row is not None:
            self.version.remove(np.array([row], np.int64))

    def _reset(self) -> None:
        """Drops the live state: what is not in the new log is not in the catalogue."""
        log.warning("the log was replaced: the catalogue is read anew")
        self._caught_up.clear()
        self._enricher.clear()
        self._learner.clear()
        self._histories.clear()
        self._likes.clear()
        self.profiles.clear()
        self.answers.clear()
        reviewed = [
            row for item_id in self.version.reviews if (row := self.version.table.rows.get(item_id)) is not None
        ]
        # Vectors that hold reviews of the old log are made anew when their items come back.
        self.version.remove(np.array(reviewed, np.int64))
        self.version.reviews.clear()
        for item_id in self.version.table.ids:
            # Vectors stay: an item that comes back unchanged needs no new ones. What is not in the table is not found.
            self.version.table.remove(item_id)
