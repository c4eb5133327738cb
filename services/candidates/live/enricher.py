"""New and changed items: embedded, mapped, into the indexes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np
import structlog

from services.candidates.sources.aligned_text import ItemTexts
from shared.data.item_evidence import mixed
from shared.data.texts import item_text, item_title
from shared.errors import FusionrecError, ModelMismatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import F32
    from services.candidates.ports import TextEmbedder
    from services.candidates.versions.version import Version
    from services.candidates.workers import Workers
    from shared.data.nouns import Item

log = structlog.get_logger(__name__)

BATCH = 128
"""Items embedded in one call."""
URGENT = 64
"""Up to this many waiting items are somebody's new items; more are an import, and can wait for people's queries."""
FIRST_RETRY_S = 0.2
LAST_RETRY_S = 2.0


class Enricher:
    """Works off the rows that wait for vectors; each row waits once, until it has them, however often it changes.

    While the language model does not answer, items that have no vector yet are mapped from their attributes, and
    all keep waiting for the real one.
    """

    def __init__(self, version: Version, embedder: TextEmbedder, workers: Workers) -> None:
        self._version = version
        self._embedder = embedder
        self._workers = workers
        # Whether the text of the item itself must be read: what is only reviewed anew has its own text's vector.
        self._waiting: dict[int, bool] = {}
        self._wake = asyncio.Event()
        self._at_rest = asyncio.Event()
        self._at_rest.set()
        self.reason = ""

    @property
    def waiting(self) -> int:
        """Items that wait for a vector."""
        return len(self._waiting)

    def add(self, row: int, *, own_text: bool = True) -> None:
        """Asks for the vectors of the item in this row; `own_text` is False when only its reviews changed."""
        self._waiting[row] = own_text or self._waiting.get(row, False)
        self._at_rest.clear()
        self._wake.set()

    def clear(self) -> None:
        """Forgets what waits."""
        self._waiting.clear()

    async def at_rest(self) -> None:
        """Waits until nothing waits, or what waits can only wait for the language model to answer again."""
        await self._at_rest.wait()

    async def run(self) -> None:
        """Works until cancelled."""
        delay = FIRST_RETRY_S
        while True:
            await self._wake.wait()
            if not self._waiting:
                self._wake.clear()
                self._at_rest.set()
                self.reason = ""
                continue
            if await self._work_off():
                delay = FIRST_RETRY_S
                continue
            await asyncio.sleep(delay)
            delay = min(delay * 2, LAST_RETRY_S)

    async def _work_off(self) -> bool:
        """Enriches the next rows; returns whether they have their vectors. If not, for whatever reason, they wait on.

        Rows leave before the work begins: one that changes meanwhile waits again, for the vectors of its new item.
        """
        rows = {row: self._waiting[row] for row in list(self._waiting)[:BATCH]}
        for row in rows:
            del self._waiting[row]
        placed = False
        try:
            placed = await self._enrich(rows)
        except Exception:
            self.reason = "internal error; the server's log has it"
            raise
        finally:
            if not placed:
                for row, own_text in rows.items():
                    self._waiting[row] = own_text or self._waiting.get(row, False)
                self._at_rest.set()
        return placed

    async def _enrich(self, rows: dict[int, bool]) -> bool:
        items = {row: item for row in rows if (item := self._version.table.item(row)) is not None}
        if not items:
            return True
        try:
            texts, own = await self._embed(items, rows)
        except FusionrecError as error:
            if error.message != self.reason:
                log.warning("items wait for their vectors", reason=error.message, waiting=self.waiting + len(rows))
            self.reason = error.message
            await self._place_without_text(items)
            return False
        self.reason = ""
        await self._place(items, texts, own)
        return True

    async def _embed(self, items: dict[int, Item], rows: dict[int, bool]) -> tuple[ItemTexts, F32]:
        """Returns the items' vectors with their reviews, and those of their own texts alone, (items, dim)."""
        reviews = [self._version.reviews.texts(item.item_id) for item in items.values()]
        texts = [item_text(item) if rows[row] else "" for row, item in items.items()]
        texts += [item_title(item) for item in items.values()]
        texts += [text for several in reviews for text in several]
        # The version that the model was trained with, whatever the embedding service has swapped to since.
        expected = self._version.about.embedding_version
        embedded = await self._embedder.embed(texts, urgent=self.waiting <= URGENT, version=expected)
        if embedded.version != expected:
            raise ModelMismatch(
                f"the candidates model needs vectors of embedding {expected}, the service makes those of "
                f"{embedded.version}: train anew"
            )
        own, titles, said = np.split(embedded.vectors, [len(items), 2 * len(items)])
        own = own.copy()
        for place, row in enumerate(items):
            if not rows[row]:
                own[place] = self._version.own_text(row)
        return ItemTexts(_with_reviews(own, said, [len(several) for several in reviews]), titles), own

    async def _place(self, items: dict[int, Item], texts: ItemTexts, own: F32) -> None:
        mapped = await self._workers.run(self._version.text_map.map, list(items.values()), texts)
        self._put(items, mapped, texts, own)

    async def _place_without_text(self, items: dict[int, Item]) -> None:
        bare = {row: item for row, item in items.items() if not self._version.has_vectors(row)}
        if bare:
            nothing = np.full((len(bare), self._version.content_dim), np.nan, np.float32)
            await self._place(bare, ItemTexts(nothing, nothing), nothing)

    def _put(self, items: dict[int, Item], mapped: F32, texts: ItemTexts, own: F32) -> None:
        # Deleted or changed meanwhile: a changed one waits again already.
        places = [place for place, (row, item) in enumerate(items.items()) if self._version.table.item(row) is item]
        rows = np.array(list(items), np.int64)[places]
        every = list(items.values())
        for place, row in zip(places, rows.tolist(), strict=True):
            self._version.keep_own_text(row, own[place], texts.full[place])
        self._version.place(
            rows, [every[place] for place in places], mapped[places], ItemTexts(texts.full[places], texts.title[places])
        )


def _with_reviews(full: F32, said: F32, counts: Sequence[int]) -> F32:
    """Returns the items' vectors (items, dim) with their reviews' (reviews, dim), of which each item has its count."""
    full = full.copy()
    ends = np.cumsum(counts)
    for place in np.flatnonzero(counts).tolist():
        own = said[ends[place] - counts[place] : ends[place]]
        found = own[~np.isnan(own[:, 0])]
        if len(found):
            full[place] = mixed(None if np.isnan(full[place, 0]) else full[place], found)
    return full
