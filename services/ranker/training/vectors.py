"""Vectors of texts for a training run, from the embedding service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.ranker.together import together

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.ports import TextEncoder
    from shared.telemetry.progress import JobProgress

BATCH = 256
CONCURRENCY = 2
TIMEOUT_S = 120.0


class TextVectors:
    """Vectors by text, each text asked for once."""

    def __init__(self, encoder: TextEncoder, progress: JobProgress) -> None:
        self._encoder = encoder
        self._progress = progress
        self._vectors: dict[str, F32] = {}
        self.version = ""

    async def add(self, texts: Iterable[str]) -> None:
        """Makes the vectors of the texts that have none yet.

        Raises:
            DependencyUnavailable: embedding does not answer.

        """
        fresh = [text for text in dict.fromkeys(texts) if text and text not in self._vectors]
        batches = [fresh[start : start + BATCH] for start in range(0, len(fresh), BATCH)]
        permits = asyncio.Semaphore(CONCURRENCY)
        done = 0

        async def one(batch: Sequence[str]) -> None:
            nonlocal done
            async with permits:
                embedded = await self._encoder.embed(batch, TIMEOUT_S, bulk=True)
            self.version = embedded.version
            for place, text in enumerate(batch):
                if embedded.ok[place]:
                    self._vectors[text] = embedded.vectors[place]
            done += len(batch)
            self._progress.update("embed", done, len(fresh))

        await together(one(batch) for batch in batches)

    def get(self, text: str) -> F32 | None:
        """Returns the vector of a text, float32 (dim,); None when it has none."""
        return self._vectors.get(text)
