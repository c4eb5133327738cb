"""Embedding a list of texts: cache, tokenize, encode."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from services.embedding.cache.lru import TextVector, VectorCache, text_key
from shared.data import limits
from shared.errors import Violation
from shared.telemetry import metrics
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from services.embedding.batching.batcher import Batcher
    from services.embedding.batching.job import Priority
    from services.embedding.encoders.model import ModelFacts, TokenizedText
    from services.embedding.ports import Tokenizer
    from shared.telemetry.stages import StageTime

INLINE_TEXTS = 8
INLINE_CHARACTERS = 2_000
"""A call of at most so many texts of so many characters in all, some 0.3 milliseconds of work, is looked up and
tokenized on the event loop."""


@dataclass(frozen=True, slots=True)
class TextResult:
    """A text's vector, or what is wrong with the text. Exactly one of `found` and `violation` is set."""

    found: TextVector | None = None
    cached: bool = False
    violation: Violation | None = None


@dataclass(frozen=True)
class EmbedOutcome:
    """The results of one list, in its order, and where the time went."""

    results: list[TextResult]
    version: str
    stages: list[StageTime]


@dataclass(frozen=True)
class _Plan:
    """What one list needs: results known already, and distinct texts to compute."""

    keys: list[bytes | None]
    known: dict[bytes, TextVector]
    texts: dict[bytes, str]


class Embedder:
    """Answers lists of texts with one loaded model. Safe for many concurrent calls.

    `seconds_left` tells the time left of the running call, None when it has no deadline.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        batcher: Batcher,
        cache: VectorCache,
        facts: ModelFacts,
        seconds_left: Callable[[], float | None],
    ) -> None:
        self._tokenizer = tokenizer
        self._batcher = batcher
        self._cache = cache
        self._seconds_left = seconds_left
        self.facts = facts

    @property
    def cached_texts(self) -> int:
        """Texts in the cache now."""
        return len(self._cache)

    async def embed(self, texts: Sequence[str], priority: Priority) -> EmbedOutcome:
        """Embeds texts that are within the contract's limits.

        A text without anything to read gets a violation, the others their vectors. Equal texts are computed once.

        Raises:
            Overloaded: the batcher's queue is full.
            DeadlineExceeded: the running call's time ran out while the texts waited.
            ShuttingDown: the server is about to stop.

        """
        stages = Stages("embedding")
        # A thread costs more than a few texts do.
        small = len(texts) <= INLINE_TEXTS and sum(map(len, texts)) <= INLINE_CHARACTERS
        with stages.stage("cache"):
            inline = small and not self._cache.may_block
            plan = self._look_up(texts) if inline else await asyncio.to_thread(self._look_up, texts)
        computed: dict[bytes, TextVector] = {}
        if plan.texts:
            with stages.stage("tokenize"):
                wanted, tokenize = list(plan.texts.values()), self._tokenizer.tokenize
                tokenized = tokenize(wanted) if small else await asyncio.to_thread(tokenize, wanted)
            computed = await self._encode(dict(zip(plan.texts, tokenized, strict=True)), priority, stages)
        results = [_result(index, key, plan.known, computed) for index, key in enumerate(plan.keys)]
        _count(results)
        return EmbedOutcome(results, self.facts.version, stages.times)

    def _look_up(self, texts: Sequence[str]) -> _Plan:
        keys = [text_key(self.facts.version, text) if text.strip() else None for text in texts]
        known = self._cache.get_many(key for key in keys if key is not None)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key is not None and key not in known}
        return _Plan(keys, known, missing)

    async def _encode(
        self, tokenized: dict[bytes, TokenizedText], priority: Priority, stages: Stages
    ) -> dict[bytes, TextVector]:
        readable = {key: text for key, text in tokenized.items() if text.content}
        if not readable:
            return {}
        left = self._seconds_left()
        deadline = None if left is None else time.monotonic() + left
        future = self._batcher.submit([text.ids for text in readable.values()], priority, deadline)
        # A cancelled call cancels the future with it, and the batcher drops what it has not computed yet.
        encoded = await asyncio.wrap_future(future)
        stages.add("encode", encoded.compute_s, encoded.queue_s)
        computed = {}
        for (key, text), row in zip(readable.items(), encoded.vectors, strict=True):
            vector = row.copy()
            vector.setflags(write=False)
            computed[key] = TextVector(vector, len(text.ids), text.truncated, text.unknown_share)
        self._cache.put_many(computed)
        return computed


def _result(
    index: int, key: bytes | None, known: dict[bytes, TextVector], computed: dict[bytes, TextVector]
) -> TextResult:
    if key is not None and key in known:
        return TextResult(known[key], cached=True)
    if key is not None and key in computed:
        return TextResult(computed[key])
    limit = f"1..{limits.MAX_EMBED_TEXT_BYTES} bytes with something to read"
    return TextResult(violation=Violation(f"texts[{index}]", "", limit, "send a text with at least one word"))


def _count(results: list[TextResult]) -> None:
    cached = sum(result.cached for result in results)
    refused = sum(result.violation is not None for result in results)
    for origin, number in (("cache", cached), ("refused", refused), ("model", len(results) - cached - refused)):
        if number:
            metrics.EMBED_TEXTS.labels(origin).inc(number)
