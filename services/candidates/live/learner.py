"""What likes teach about items that came after the training: their place in the CF space moves with each like."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from services.candidates.profile import build_profile
from shared.errors import FusionrecError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from services.candidates.arrays import F32
    from services.candidates.live.histories import LiveHistories
    from services.candidates.versions.version import Version
    from services.candidates.workers import Workers
    from shared.data.nouns import HistoryEvent
    from shared.data.preferences import PreferenceRules

log = structlog.get_logger(__name__)

BATCH = 4
"""Likes worked off in one go: more would hold up the answers of that moment."""
REST = 9.0
"""It rests this many times as long as it worked: one more like moves an item a little, and answers need the cores."""
LONGEST_REST_S = 1.0
MAX_WAITING = 10_000
"""Likes that may wait; more push the oldest out: the next training learns from all of them."""


class Learner:
    """Works off likes of items without trained factors: reads the liker's history, folds the user in, then the item.

    Both fold-ins are exact half-steps of ALS (`AlsModel.fold_in`, `live/item_factors.py`).
    """

    def __init__(self, version: Version, histories: LiveHistories, rules: PreferenceRules, workers: Workers) -> None:
        self._version = version
        self._histories = histories
        self._rules = rules
        self._workers = workers
        self._waiting: OrderedDict[tuple[int, str], float] = OrderedDict()
        """Strengths by row and user."""
        self._under_way: dict[tuple[int, str], float] = {}
        self._wake = asyncio.Event()

    @property
    def waiting(self) -> int:
        """Likes that wait."""
        return len(self._waiting)

    def add(self, row: int, user_id: str, strength: float) -> None:
        """Takes a like in; one of an item that training has seen changes nothing until the next training."""
        if self._version.is_trained(row) or not self._version.item_factors.can_learn:
            return
        self._waiting[row, user_id] = strength
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
        self._wake.set()

    def take_back(self, row: int, user_id: str) -> None:
        """Takes a like back, also one that is worked on and one that was learned from."""
        self._waiting.pop((row, user_id), None)
        self._under_way.pop((row, user_id), None)
        if self._version.item_factors.drop(row, user_id):
            self._version.learn(row)

    def forget(self, user_id: str) -> None:
        """Takes a user's likes back, those that wait, those that are worked on and those that were learned from."""
        for likes in (self._waiting, self._under_way):
            for key in [key for key in likes if key[1] == user_id]:
                del likes[key]
        for row in self._version.item_factors.forget(user_id):
            self._version.learn(row)

    def clear(self) -> None:
        """Forgets what waits, what is worked on and what was learned."""
        self._waiting.clear()
        self._under_way.clear()
        self._version.item_factors.clear()

    async def run(self) -> None:
        """Works until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                self._under_way = dict(self._waiting.popitem(last=False) for _ in range(min(BATCH, self.waiting)))
                begun = time.monotonic()
                await self._work_off()
                await asyncio.sleep(min(REST * (time.monotonic() - begun), LONGEST_REST_S))

    async def _work_off(self) -> None:
        users = {user_id for _, user_id in self._under_way}
        try:
            histories = {user_id: await self._histories.read(user_id) for user_id in users}
        except FusionrecError as error:
            log.warning("likes of new items are not learned from", reason=error.message, likes=len(self._under_way))
            return
        vectors = await self._workers.run(self._fold_in, histories)
        # What was taken back meanwhile is not among them any more.
        likes, self._under_way = self._under_way, {}
        for (row, user_id), strength in likes.items():
            if vectors[user_id].any():
                self._version.item_factors.add(row, user_id, vectors[user_id], strength)
        for row in sorted({row for row, _ in likes}):
            # One by one, with room between them: each is a solve, and answers are made meanwhile.
            self._version.learn(row)
            await asyncio.sleep(0)

    def _fold_in(self, histories: Mapping[str, tuple[HistoryEvent, ...]]) -> dict[str, F32]:
        rows, rules = self._version.table.rows, self._rules
        return {
            user_id: self._version.fold_in(build_profile(events, rows, rules)) for user_id, events in histories.items()
        }
