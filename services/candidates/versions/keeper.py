"""The current version, swapped in one step, and the pinned ones, loaded when asked for."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING

import structlog

from services.candidates.versions.files import about_of, open_version
from services.candidates.versions.version import KIND
from shared.errors import CorruptData, ModelNotReady, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.candidates.live.version import LiveVersion
    from services.candidates.ports import IndexBuilder, IndexFactory
    from services.candidates.versions.version import About, Version
    from services.candidates.workers import Workers
    from shared.artifacts import ArtifactStore, Loaded

log = structlog.get_logger(__name__)


class Versions:
    """Hands out versions.

    Args:
        store: where versions are published.
        make_index: makes empty vector indexes.
        builder: opens those that were built at training.
        make_live: makes a version follow the log.
        workers: threads that load.
        max_pinned: pinned versions kept in memory, the least recently asked dropped first.
        settle_s: seconds that a new version gets to catch up with the log before it takes over all the same.

    """

    def __init__(
        self,
        store: ArtifactStore,
        *,
        make_index: IndexFactory,
        builder: IndexBuilder,
        make_live: Callable[[Version], LiveVersion],
        workers: Workers,
        max_pinned: int,
        settle_s: float,
    ) -> None:
        self._store = store
        self._make_index = make_index
        self._builder = builder
        self._make_live = make_live
        self._workers = workers
        self._max_pinned = max_pinned
        self._settle_s = settle_s
        self._live: LiveVersion | None = None
        self._failure = "starting"
        self._pinned: OrderedDict[str, Version] = OrderedDict()
        self._loading = asyncio.Lock()
        self._abouts: dict[str, About] = {}

    @property
    def live(self) -> LiveVersion | None:
        """The current version; None before the first one is loaded."""
        return self._live

    @property
    def reason(self) -> str:
        """Why there is no current version, or why it is not the newest or not up to date; empty when all is well."""
        return self._failure or (self._live.reason if self._live is not None else "")

    async def adopt(self, loaded: Loaded) -> None:
        """Makes a verified artifact the current version, once it has caught up with the log.

        Raises:
            CorruptData: it cannot be read; the version before it stays.

        """
        version = await self._workers.run(open_version, loaded, self._make_index, self._builder)
        live = self._make_live(version)
        live.start()
        await live.settled(self._settle_s)
        before, self._live = self._live, live
        self._failure = ""
        if before is not None:
            await before.stop()

    def failed(self, reason: str) -> None:
        """Notes why a version could not be used; the one before it, if any, goes on."""
        self._failure = reason

    async def get(self, name: str) -> tuple[Version, bool]:
        """Returns the version to answer with, and whether it is live; an empty name means the current one.

        Raises:
            ModelNotReady: there is no current version.
            NotFound: no version of that name.
            CorruptData: its files are damaged.

        """
        if not name:
            if self._live is None:
                raise ModelNotReady(self._failure)
            return self._live.version, True
        return await self._get_pinned(name), False

    async def known(self) -> list[About]:
        """Returns the versions that can be asked for, newest first."""
        return await self._workers.run(self._read_abouts)

    async def close(self) -> None:
        """Ends the live tasks."""
        if self._live is not None:
            await self._live.stop()

    async def _get_pinned(self, name: str) -> Version:
        if name not in self._pinned:
            # One load at a time: a version takes memory and both cores while it loads.
            async with self._loading:
                if name not in self._pinned:
                    self._pinned[name] = await self._workers.run(self._load, name)
        version = self._pinned[name]
        self._pinned.move_to_end(name)
        while len(self._pinned) > self._max_pinned:
            dropped, _ = self._pinned.popitem(last=False)
            log.info("pinned version dropped", version=dropped)
        return version

    def _load(self, name: str) -> Version:
        return open_version(self._store.load(KIND, name), self._make_index, self._builder)

    def _read_abouts(self) -> list[About]:
        names = self._store.versions(KIND)
        for name in names:
            if name not in self._abouts:
                try:
                    self._abouts[name] = about_of(self._store.manifest(KIND, name))
                except (NotFound, CorruptData):
                    continue
        return [self._abouts[name] for name in names if name in self._abouts]
