"""The rules file as it holds now: read again when it changes; a broken one leaves the last good rules in force."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from services.ranker.pipeline.select.options import NO_DEFAULTS
from shared.errors import FusionrecError
from shared.telemetry import metrics

if TYPE_CHECKING:
    from services.ranker.pipeline.select.options import Defaults
    from services.ranker.ports import RuleSource

log = structlog.get_logger(__name__)


class RuleBook:
    """`current` is what holds; `reason` says why a newer file does not, else it is empty; `version` grows with each.

    Without a source nothing is said by default.

    Raises:
        FusionrecError: the first file cannot be used: there is no last good one to fall back on.

    """

    def __init__(self, source: RuleSource | None = None) -> None:
        self._source = source
        self.current: Defaults = NO_DEFAULTS
        self.reason = ""
        self.version = 0
        self._stamp = ""
        if source is not None:
            self._stamp, self.current = source.read()

    async def watch(self, poll_s: float) -> None:
        """Looks at the file every `poll_s` seconds until cancelled."""
        while self._source is not None:
            await asyncio.sleep(poll_s)
            await self.check()

    async def check(self) -> None:
        """Reads the file when it has changed."""
        source = self._source
        if source is None:
            return
        try:
            if await asyncio.to_thread(source.stamp) == self._stamp:
                # Also when a broken file was in its place meanwhile.
                self.reason = ""
                return
            self._stamp, self.current = await asyncio.to_thread(source.read)
        except FusionrecError as error:
            if error.message != self.reason:
                log.warning("the rules file cannot be used: the last good rules hold", reason=error.message)
                metrics.RULES_LOADED.labels("refused").inc()
            self.reason = error.message
            return
        self.reason = ""
        self.version += 1
        metrics.RULES_LOADED.labels("loaded").inc()
        log.info("the rules file was read", rules=len(self.current.selection.rules))
