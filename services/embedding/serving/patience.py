"""What a feed does when the queue is full: it waits, and with it its sender."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from shared.errors import Overloaded, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.embedding.serving.state import ServingState

Made = TypeVar("Made")

DEFAULT_S = 0.1
"""Wait where the refusal gives no advice, seconds."""


class Patience:
    """Waits for room, until the running call's time is up (`seconds_left`; None: no deadline) or the server stops."""

    def __init__(self, seconds_left: Callable[[], float | None], state: ServingState) -> None:
        self._seconds_left = seconds_left
        self._state = state

    async def wait(self, refused: Overloaded) -> None:
        """Returns when it is time to try again: after as long as `refused` advises.

        Raises:
            Overloaded: `refused` itself, when the time left is shorter than that.
            ShuttingDown: the server is about to stop; at once.

        """
        wait_s = refused.retry_after_s or DEFAULT_S
        left = self._seconds_left()
        if left is not None and left <= wait_s:
            raise refused
        with suppress(TimeoutError):
            await asyncio.wait_for(self._state.stopping.wait(), wait_s)
        if self._state.stopping.is_set():
            raise ShuttingDown("the server is about to stop; send what was not answered again")


async def with_room(attempt: Callable[[], Made], patience: Patience | None) -> Made:
    """Returns what `attempt` returns; where it is refused for want of room, it is made again, with `patience`.

    Raises:
        Overloaded: no room, and no patience (any more).
        ShuttingDown: see `Patience.wait`.

    """
    while True:
        try:
            return attempt()
        except Overloaded as refused:
            if patience is None:
                raise
            await patience.wait(refused)
