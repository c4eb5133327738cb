"""Embedding a list of texts: cache, tokenize, encode."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from services.embedding.cache.lru import TextVector, VectorCache, text_key
from services.embedding.serving.patience import with_room
from shared.data import limits
from shared.errors import Reason, Violation
from shared.telemetry import metrics
from shared.telemetry.stages import Stages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray

    from services.embedding.batching.batcher import Batcher
    from services.embedding.batching.job import Encoded, Priority
    from services.embedding.encoders.model import ModelFacts, TokenizedText
    from services.embedding.ports import Tokenizer
    from services.embedding.serving.patience import Patience
    from shared.telemetry.stages import StageTime

Computed: TypeAlias = dict[bytes, TextVector | None]
"""Vectors by the key of the text; None where the model computes nothing finite."""

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

    async def embed(self, texts: Sequence[str], priority: Priority, patience: Patience | None = None) -> EmbedOutcome:
        """Embeds texts that are within the contract's limits; with `patience` it waits while the queue is full.

        A text without anything to read, or that the model computes no finite vector for, gets a violation, the others
        their vectors. Equal texts are computed once.

        Raises:
            Overloaded: the batcher's queue is full; with `patience`, and has no room before the call's time is up.
            DeadlineExceeded: the running call's time ran out while the texts waited.
            ShuttingDown: the server is about to stop.

        """
        stages = Stages("embedding")
        # A thread costs more than a few texts do.
        small = len(texts) <= INLINE_TEXTS and sum(map(len, texts)) <= INLINE_CHARACTERS
        with stages.stage("cache"):
            inline = small and not self._cache.may_block
            plan = self._look_up(texts) if inline else await asyncio.to_thread(self._look_up, texts)
        computed: Computed = {}
        if plan.texts:
            # What would be refused is not tokenized first.
            await with_room(partial(self._batcher.check_room, len(plan.texts)), patience)
            with stages.stage("tokenize"):
                wanted, tokenize = list(plan.texts.values()), self._tokenizer.tokenize
                tokenized = tokenize(wanted) if small else await asyncio.to_thread(tokenize, wanted)
            readable = {key: text for key, text in zip(plan.texts, tokenized, strict=True) if text.content}
            if readable:
                encoded = await self._submitted(readable, priority, patience)
                stages.add("encode", encoded.compute_s, encoded.queue_s)
                computed = self._kept(readable, encoded.vectors)
        results = [_result(index, key, plan.known, computed) for index, key in enumerate(plan.keys)]
        _count(results)
        return EmbedOutcome(results, self.facts.version, stages.times)

    def _look_up(self, texts: Sequence[str]) -> _Plan:
        keys = [text_key(self.facts.version, text) if text.strip() else None for text in texts]
        known = self._cache.get_many(key for key in keys if key is not None)
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key is not None and key not in known}
        return _Plan(keys, known, missing)

    async def _submitted(
        self, readable: dict[bytes, TokenizedText], priority: Priority, patience: Patience | None
    ) -> Encoded:
        rows = [text.ids for text in readable.values()]

        def submit() -> Future[Encoded]:
            left = self._seconds_left()
            return self._batcher.submit(rows, priority, None if left is None else time.monotonic() + left)

        # A cancelled call cancels the future with it, and the batcher drops what it has not computed yet.
        return await asyncio.wrap_future(await with_room(submit, patience))

    def _kept(self, readable: dict[bytes, TokenizedText], vectors: NDArray[np.float32]) -> Computed:
        computed: Computed = {}
        whole = [bool(np.isfinite(row).all()) for row in vectors]
        for (key, text), row, finite in zip(readable.items(), vectors, whole, strict=True):
            vector = row.copy()
            vector.setflags(write=False)
            entry = TextVector(vector, len(text.ids), text.truncated, text.unknown_share)
            computed[key] = entry if finite else None
        self._cache.put_many({key: entry for key, entry in computed.items() if entry is not None})
        return computed


def _result(index: int, key: bytes | None, known: dict[bytes, TextVector], computed: Computed) -> TextResult:
    if key is not None and key in known:
        return TextResult(known[key], cached=True)
    if key is not None and key in computed:
        vector = computed[key]
        return TextResult(vector) if vector is not None else TextResult(violation=_no_vector(index))
    limit = f"1..{limits.MAX_EMBED_TEXT_BYTES} bytes with something to read"
    return TextResult(violation=Violation(f"texts[{index}]", "", limit, "send a text with at least one word"))


def _no_vector(index: int) -> Violation:
    hint = "the model computes none for this text: send another one, or serve another model"
    return Violation(f"texts[{index}]", "", "a vector of finite numbers", hint, Reason.INTERNAL)


def _count(results: list[TextResult]) -> None:
    cached = sum(result.cached for result in results)
    refused = sum(result.violation is not None for result in results)
    for origin, number in (("cache", cached), ("refused", refused), ("model", len(results) - cached - refused)):
        if number:
            metrics.EMBED_TEXTS.labels(origin).inc(number)
