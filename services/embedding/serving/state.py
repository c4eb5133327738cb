"""What the servicer asks for: the embedder that serves, or why there is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from shared.errors import ModelNotReady, ShuttingDown

if TYPE_CHECKING:
    from services.embedding.serving.embedder import Embedder


class ServingState:
    """Written by the composition root while it starts and stops, read by every call."""

    def __init__(self) -> None:
        self.reason = "the model is loading"
        """Why there is no embedder; safe to show to callers."""
        self.stopping = asyncio.Event()
        """Set when the server is about to stop."""
        self._embedder: Embedder | None = None

    def serve_with(self, embedder: Embedder) -> None:
        """From now on calls are answered by `embedder`."""
        self._embedder = embedder

    def embedder(self) -> Embedder:
        """Returns the embedder.

        Raises:
            ModelNotReady: none is loaded; the message has the reason.

        """
        if self._embedder is None:
            raise ModelNotReady(f"no encoder is loaded: {self.reason}")
        return self._embedder

    def go_on(self) -> None:
        """Raises when the work of starting is no longer wanted; safe to call from any thread.

        Raises:
            ShuttingDown: the server is about to stop.

        """
        if self.stopping.is_set():
            raise ShuttingDown("the server stops before its model is ready")
