"""Vectors of texts for a training run, from the embedding service."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from services.ranker.together import together
from shared.errors import ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.ports import TextEncoder
    from shared.telemetry.progress import JobProgress

BATCH = 256
CONCURRENCY = 2
TIMEOUT_S = 120.0


class TextVectors:
    """Vectors by text, each text asked for once, all of one version of the encoder.

    `version` is that version; empty means the one that is current at the first call.
    """

    def __init__(self, encoder: TextEncoder, progress: JobProgress, version: str = "") -> None:
        self._encoder = encoder
        self._progress = progress
        self._vectors: dict[str, F32] = {}
        self.version = version

    async def add(self, texts: Iterable[str]) -> None:
        """Makes the vectors of the texts that have none yet.

        Raises:
            DependencyUnavailable: embedding does not answer.
            ModelMismatch: it does not have the version, or no longer.

        """
        fresh = [text for text in dict.fromkeys(texts) if text and text not in self._vectors]
        batches = [fresh[start : start + BATCH] for start in range(0, len(fresh), BATCH)]
        permits = asyncio.Semaphore(CONCURRENCY)
        done = 0

        async def one(batch: Sequence[str]) -> None:
            nonlocal done
            async with permits:
                embedded = await self._encoder.embed(batch, TIMEOUT_S, bulk=True, version=self.version)
            if self.version not in {"", embedded.version}:
                raise ModelMismatch("the embedding service changed its model during the training: train again")
            self.version = embedded.version
            for place, text in enumerate(batch):
                if embedded.ok[place]:
                    self._vectors[text] = embedded.vectors[place]
            done += len(batch)
            self._progress.update("embed", done, len(fresh))

        if batches and not self.version:
            # The first answer says what is current; the embedding service may swap while this goes on.
            await one(batches.pop(0))
        await together(one(batch) for batch in batches)

    def get(self, text: str) -> F32 | None:
        """Returns the vector of a text, float32 (dim,); None when it has none."""
        return self._vectors.get(text)
