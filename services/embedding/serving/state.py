"""What the servicer asks for: the embedder that serves, or why there is none."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from shared.errors import ModelNotReady, ShuttingDown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from services.embedding.serving.embedder import Embedder

T = TypeVar("T")


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

    async def until_stopped(self, feed: AsyncIterator[T]) -> AsyncIterator[T]:
        """Yields what `feed` yields, so that a feed that waits for its client does not hold up the server's stop.

        Raises:
            ShuttingDown: the server is about to stop.

        """
        stop = asyncio.ensure_future(self.stopping.wait())
        try:
            while True:
                following = asyncio.ensure_future(_next(feed))
                try:
                    await asyncio.wait((following, stop), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    if not following.done():
                        following.cancel()
                if stop.done():
                    raise ShuttingDown("the server is about to stop; send the rest to another replica")
                arrived = following.result()
                if arrived is None:
                    return
                yield arrived
        finally:
            stop.cancel()


async def _next(feed: AsyncIterator[T]) -> T | None:
    return await anext(feed, None)
