"""Follows the log, and gives new items their vectors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

import structlog

from services.ranker.items.evidence import with_reviews
from shared.errors import FusionrecError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.ranker.items.live import LiveItems
    from services.ranker.ports import TextEncoder
    from shared.data.log import EventFeed
    from shared.data.nouns import LogRecord

log = structlog.get_logger(__name__)

EMBED_BATCH = 64
EMBED_TIMEOUT_S = 20.0
RETRY_S = 0.1


class LogWatcher(Protocol):
    """Who else is told of the log, record by record in its order."""

    def apply(self, records: Iterable[LogRecord]) -> None:
        """Takes a stretch of the log."""

    def reset(self) -> None:
        """Drops everything: the log was replaced by another one."""


class Follower:
    """Two loops: the log into `live` and to the `watchers`, and vectors for items that wait for one.

    Vectors are made only once `begin_embedding` was called: without a model nothing reads them, and the training
    job has the embedding service for itself.
    """

    def __init__(
        self, live: LiveItems, feed: EventFeed, encoder: TextEncoder, watchers: Sequence[LogWatcher] = ()
    ) -> None:
        self._live = live
        self._watchers = watchers
        self._feed = feed
        self._encoder = encoder
        self.caught_up = asyncio.Event()
        self._embedding_on = False
        self._wake = asyncio.Event()
        self._cursor = ""

    def begin_embedding(self) -> None:
        """Gives vectors to the items that wait, now and from now on; also after the model was swapped."""
        self._embedding_on = True
        self._wake.set()

    async def follow(self) -> None:
        """Reads the log until cancelled. Called again, it goes on after the stretch that it ended with."""
        async for batch in self._feed.follow(self._reset, self._cursor):
            # Before it is applied: the log does not change, so a stretch that fails once would fail for ever.
            self._cursor = batch.cursor
            self._live.apply(batch.records)
            for watcher in self._watchers:
                watcher.apply(batch.records)
            self._wake.set()
            if batch.caught_up:
                self._live.at_end()
                self.caught_up.set()

    def _reset(self) -> None:
        self._live.reset()
        for watcher in self._watchers:
            watcher.reset()

    async def embed(self) -> None:
        """Makes vectors until cancelled. Called again, it begins with what waits."""
        delay = RETRY_S
        self._wake.set()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._embedding_on and (waiting := self._live.take_waiting(EMBED_BATCH)):
                try:
                    several = [self._live.texts(item_id) for item_id in waiting]
                    texts = [text for own in several for text in own]
                    version = self._live.table.embedding_version
                    made = await self._encoder.embed(texts, EMBED_TIMEOUT_S, bulk=True, version=version)
                    self._live.put_vectors(waiting, with_reviews(made, [len(own) for own in several]))
                    delay = RETRY_S
                except FusionrecError as error:
                    log.info("items wait for vectors", items=len(waiting), reason=error.message, retry_s=delay)
                    self._live.put_back(waiting)
                    await asyncio.sleep(delay)
                    delay = min(2 * delay, 1.0)
                except BaseException:
                    self._live.put_back(waiting)
                    raise
