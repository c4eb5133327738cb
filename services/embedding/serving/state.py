"""Whether the server goes on: read by feeds and by the work of loading."""

from __future__ import annotations

import asyncio

from shared.errors import ShuttingDown


class ServingState:
    """Written by the composition root while it starts and stops."""

    def __init__(self) -> None:
        self.stopping = asyncio.Event()
        """Set when the server is about to stop."""

    def go_on(self) -> None:
        """Raises when the work of loading is no longer wanted; safe to call from any thread.

        Raises:
            ShuttingDown: the server is about to stop.

        """
        if self.stopping.is_set():
            raise ShuttingDown("the server stops before its model is ready")
