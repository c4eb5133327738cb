"""Hands out versions: the current one in no time, a pinned one from memory or, the first time, from its files."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import structlog

from services.embedding.encoders.model import ModelUnusable
from shared.errors import CorruptData, ModelNotReady, Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from services.embedding.ports import LoadedModel
    from services.embedding.versions.served import Served
    from services.embedding.versions.source import VersionNote, VersionSource
    from shared.artifacts import Loaded

log = structlog.get_logger(__name__)

REFUSED_S = 10.0
"""How long a damaged version is refused without looking at its files again, seconds."""
MAX_REFUSED = 64
MAX_LOADS = 8
"""Versions that are loaded or wait for it: loads go one after the other, seconds each."""
_RETRY_S = 5.0
"""Advice of when to retry when there are so many, seconds."""


class Versions:
    """The versions in memory; to be used in one event loop.

    A new version is loaded and warmed while the old one answers; then calls that name no version get the new one.
    The one before it stays, with the other last used ones: models that were trained with it go on asking for it.

    Args:
        source: loads versions.
        make: makes a warm model answer.
        max_others: versions kept beside the current one, the least recently asked for dropped first.
        go_on: called between the steps of loading; raises to end it.

    """

    def __init__(
        self,
        source: VersionSource,
        make: Callable[[LoadedModel], Served],
        *,
        max_others: int,
        go_on: Callable[[], None],
    ) -> None:
        self._source = source
        self._make = make
        self._max_others = max_others
        self._go_on = go_on
        self._current: Served | None = None
        self._others: OrderedDict[str, Served] = OrderedDict()
        self._loading = asyncio.Lock()
        self._loads: dict[str, asyncio.Task[Served]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._refused: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self.reason = "the model is loading"
        """Why there is no current version, or why it is not the newest; empty when all is well. Safe to show."""

    @property
    def current(self) -> Served | None:
        """The current version; None before the first one is loaded."""
        return self._current

    async def adopt_base(self) -> None:
        """Makes the model of the settings the current one.

        Raises:
            ModelUnusable: it cannot be served.
            ShuttingDown: the server is about to stop.

        """
        version = await asyncio.to_thread(self._source.base_version)
        # Whoever asks for it by name meanwhile shares this load: else it would be loaded and warmed a second time.
        served = self._others.get(version)
        while served is None or served.retired:
            try:
                served = await self._load(version, lambda go_on: self._source.load(version, go_on))
            except CorruptData as error:
                if isinstance(error.__cause__, ModelUnusable):
                    raise error.__cause__ from error.__cause__.__cause__
                raise
        self._promote(served)

    async def adopt(self, loaded: Loaded) -> None:
        """Makes a verified artifact the current version.

        Raises:
            CorruptData: it cannot be served; the version before it stays.
            ShuttingDown: the server is about to stop.

        """
        version = loaded.manifest.version
        if self._current is None or self._current.version != version:
            served = self._others.get(version)
            while served is None or served.retired:
                served = await self._load(version, lambda go_on: self._source.read(loaded, go_on))
            self._promote(served)
        self.reason = ""

    @asynccontextmanager
    async def using(self, version: str = "") -> AsyncIterator[Served]:
        """Lends a version for one call, which may finish on it whatever is swapped meanwhile; empty means the current.

        Raises:
            ModelNotReady: there is no current version.
            NotFound: no version of that name; said at once, whatever loads.
            CorruptData: its files are damaged.
            Overloaded: it is not in memory, and `MAX_LOADS` versions wait to be loaded.
            ShuttingDown: the server is about to stop.

        """
        served = await self._get(version)
        while served.retired:
            # Dropped between the end of its loading and this step.
            served = await self._get(version)
        served.users += 1
        try:
            yield served
        finally:
            served.users -= 1
            if served.retired and not served.users:
                self._close(served)

    async def known(self) -> list[VersionNote]:
        """Returns the versions that can be asked for, newest first."""
        current = "" if self._current is None else self._current.version
        return await asyncio.to_thread(self._source.known, current)

    async def close(self) -> None:
        """Ends loads and threads."""
        loads = list(self._loads.values())
        for task in loads:
            task.cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        if self._current is not None:
            self._retire(self._current)
            self._current = None
        while self._others:
            self._retire(self._others.popitem()[1])
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _get(self, version: str) -> Served:
        if version and not self._is_at_hand(version):
            self._check_not_refused(version)
            # Before the lock of the loads: who asks for what is not there need not wait for them.
            await asyncio.to_thread(self._source.check_known, version)
        current = self._current
        if current is not None and version in {"", current.version}:
            return current
        if not version:
            raise ModelNotReady(f"no encoder is loaded: {self.reason}")
        if version not in self._others:
            self._make_sure_of_room(version)
            return await self._load(version, lambda go_on: self._source.load(version, go_on))
        self._others.move_to_end(version)
        return self._others[version]

    def _is_at_hand(self, version: str) -> bool:
        is_current = self._current is not None and self._current.version == version
        return is_current or version in self._others or version in self._loads

    def _make_sure_of_room(self, version: str) -> None:
        if version not in self._loads and len(self._loads) >= MAX_LOADS:
            raise Overloaded(
                f"{len(self._loads)} other versions wait to be loaded; ask for few versions at a time",
                retry_after_s=_RETRY_S,
            )

    async def _load(self, version: str, load: Callable[[Callable[[], None]], LoadedModel]) -> Served:
        """Loads a version once, however many ask for it; goes on when who asked no longer waits."""
        task = self._loads.get(version)
        if task is None:
            task = asyncio.create_task(self._load_one(version, load))
            self._loads[version] = task
            task.add_done_callback(lambda done: self._loaded(version, done))
        return await asyncio.shield(task)

    def _loaded(self, version: str, task: asyncio.Task[Served]) -> None:
        del self._loads[version]
        if not task.cancelled():
            # Looked at, so that an error nobody waits for any more is not reported as lost.
            task.exception()

    async def _load_one(self, version: str, load: Callable[[Callable[[], None]], LoadedModel]) -> Served:
        # One at a time: a version takes memory and both cores while it loads.
        async with self._loading:
            started = time.perf_counter()
            try:
                model = await asyncio.to_thread(self._warmed, load)
            except CorruptData as error:
                self._refuse(version, error.message)
                raise
            served = self._make(model)
            self._others[version] = served
            self._trim()
            log.info("version loaded", version=version, seconds=round(time.perf_counter() - started, 1))
            return served

    def _warmed(self, load: Callable[[Callable[[], None]], LoadedModel]) -> LoadedModel:
        model = load(self._go_on)
        facts = model.encoder.facts
        log.info("model loaded, warming up", version=facts.version, encoder=facts.kind)
        model.encoder.warm(self._go_on)
        return model

    def _promote(self, served: Served) -> None:
        before, self._current = self._current, served
        self.reason = ""
        other = self._others.pop(served.version, None)
        if other is not None and other is not served:
            self._retire(other)
        if before is not None:
            self._others[before.version] = before
            self._trim()

    def _trim(self) -> None:
        while len(self._others) > self._max_others:
            version, served = self._others.popitem(last=False)
            log.info("version dropped", version=version)
            self._retire(served)

    def _retire(self, served: Served) -> None:
        served.retired = True
        if not served.users:
            self._close(served)

    def _close(self, served: Served) -> None:
        task = asyncio.create_task(asyncio.to_thread(served.close))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _refuse(self, version: str, reason: str) -> None:
        self._refused[version] = (time.monotonic() + REFUSED_S, reason)
        while len(self._refused) > MAX_REFUSED:
            self._refused.popitem(last=False)

    def _check_not_refused(self, version: str) -> None:
        until, reason = self._refused.get(version, (0.0, ""))
        if time.monotonic() < until:
            raise CorruptData(reason)
