"""Work that runs for ever beside the calls: one bad moment must not end it for good."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)


async def supervised(work: Callable[[], Awaitable[None]], name: str, restart_s: float = 1.0) -> None:
    """Runs `work` until it returns; starts it again `restart_s` seconds after any exception, which it logs.

    A task that fails is otherwise noticed by nobody: what it kept up to date grows old in silence. Cancelling ends
    the work and its supervision. `work` must itself be fit to be called again: it goes on from where its state is.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("background work failed; it is started again", work=name, restart_s=restart_s)
        else:
            return
        await asyncio.sleep(restart_s)
