"""Watches a CURRENT pointer and hands each new version to the server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from shared.errors import DependencyUnavailable, FusionrecError
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from shared.artifacts.store import ArtifactStore, Loaded

log = structlog.get_logger(__name__)


class ArtifactWatcher:
    """Polls CURRENT every `poll_s` seconds; verifies and hands over what is new.

    `on_loaded(loaded)` makes the server use the version; it runs in the event loop and must hand heavy work
    to a thread. `on_failed(reason)` is told when a version cannot be used: the server stays on the last
    good one. A version that failed is tried again only after CURRENT has changed; where the store or a
    neighbour did not answer, at the next look. With `optional`, a store without a CURRENT is no failure.
    """

    def __init__(
        self,
        store: ArtifactStore,
        kind: str,
        *,
        service: str,
        on_loaded: Callable[[Loaded], Awaitable[None]],
        on_failed: Callable[[str], Awaitable[None]],
        poll_s: float = 0.5,
        optional: bool = False,
    ) -> None:
        self._store = store
        self._kind = kind
        self._service = service
        self._on_loaded = on_loaded
        self._on_failed = on_failed
        self._poll_s = poll_s
        self._optional = optional
        self._seen: str | None = None
        self._said = ""

    async def check(self) -> None:
        """Looks once; loads when there is something new."""
        try:
            version = await asyncio.to_thread(self._store.current, self._kind)
            if version is None and self._optional:
                return
            if version is None:
                await self._fail(f"no {self._kind} model has been trained yet: run `fusionrec train`")
                return
            if version == self._seen:
                return
            self._seen = version
            loaded = await asyncio.to_thread(self._store.load, self._kind, version)
            await self._on_loaded(loaded)
        except DependencyUnavailable as error:
            await self._fail_for_now(error.message)
        except OSError as error:
            await self._fail_for_now(f"the artifact store does not answer: {error.strerror or type(error).__name__}")
        except FusionrecError as error:
            metrics.MODEL_SWAPS.labels(self._service, self._kind, "failed").inc()
            await self._fail(error.message)
        except Exception:
            metrics.MODEL_SWAPS.labels(self._service, self._kind, "failed").inc()
            log.exception("model cannot be used", kind=self._kind, version=self._seen)
            await self._fail(f"{self._kind} {self._seen} cannot be used; the log has the reason")
        else:
            self._said = ""
            metrics.MODEL_SWAPS.labels(self._service, self._kind, "loaded").inc()
            log.info("model loaded", kind=self._kind, version=version)

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(self._poll_s)
            await self.check()

    async def _fail_for_now(self, reason: str) -> None:
        # Not the version's fault: it is tried again at the next look.
        self._seen = None
        await self._fail(reason)

    async def _fail(self, reason: str) -> None:
        if reason != self._said:
            self._said = reason
            await self._on_failed(reason)
