"""The catalogue's texts as vectors: what the models of all versions need, each text once."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from services.candidates.sources.aligned_text import ItemTexts, masked_rows
from services.candidates.sources.attributes import AttributeEncoder
from shared.data.item_evidence import mixed, review_texts
from shared.data.texts import item_text, item_title
from shared.errors import ModelMismatch, ModelNotReady

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

    from services.candidates.arrays import F32, I64, Mask
    from services.candidates.ports import Embedded, TextEmbedder
    from services.candidates.sources.hyperparameters import TextParameters
    from shared.data.item_evidence import ItemReviews
    from shared.data.nouns import Item

T = TypeVar("T")

STEP = 500
"""Texts of one call."""
WARM_UP_S, WARM_UP_POLL_S = 180.0, 0.2
"""How long a language model that is being loaded is waited for, and how often it is asked, seconds."""
CALLS_UNDER_WAY = 2
"""While one call's texts are computed, the next call's wait in the embedding service: it is never idle."""


async def embed_items(
    items: Sequence[Item | None],
    titles: Mask,
    embedder: TextEmbedder,
    on_done: Callable[[int, int], None],
    version: str = "",
) -> tuple[ItemTexts, str]:
    """Returns the vectors of the catalogue and the version of the language model that made them.

    Args:
        items: the catalogue, n items; None for rows without an item, which have no vectors.
        titles: bool (n,): the items of which the title alone is embedded, too.
        embedder: the language model.
        on_done: called with the number of texts embedded and that of all.
        version: the version of the language model; empty means the one that is current when it begins, to the end.

    Raises:
        DependencyUnavailable: it does not answer.
        ModelNotReady: it has no model, and none within `WARM_UP_S`.
        ModelMismatch: it does not have that version, or no longer.

    """
    full = ["" if item is None else item_text(item) for item in items]
    alone = [
        item_title(item) if item is not None and wanted else "" for item, wanted in zip(items, titles, strict=True)
    ]
    # An empty text has no vector, and the answer to it says how long one would be: asked if there is nothing else.
    texts = list(dict.fromkeys(text for text in (*full, *alone) if text)) or [""]
    parts = await _embed(texts, embedder, on_done, version)
    versions = {part.version for part in parts}
    if len(versions) > 1:
        raise ModelMismatch("the embedding service changed its model during the training: train again")
    place = {text: row for row, text in enumerate(texts)}
    # Half precision is what is stored: the models must not see more here than a server that loads them.
    nothing = np.full((1, parts[0].vectors.shape[1]), np.nan)
    vectors = np.vstack([*(part.vectors for part in parts), nothing]).astype(np.float16).astype(np.float32)
    rows_full, rows_alone = ([place.get(text, -1) for text in own] for own in (full, alone))
    return ItemTexts(vectors[rows_full], vectors[rows_alone]), versions.pop()


async def embed_reviews(
    reviews: Sequence[ItemReviews], embedder: TextEmbedder, on_done: Callable[[int, int], None], version: str
) -> dict[str, F32]:
    """Returns the vector of each review's text, float32 (dim,); those with nothing to read are not among them.

    Args:
        reviews: of the items, as each version sees them.
        embedder: the language model.
        on_done: called with the number of texts embedded and that of all.
        version: the version of the language model that made the items' vectors.

    Raises:
        DependencyUnavailable: it does not answer.
        ModelMismatch: it no longer has that version.

    """
    texts = review_texts(reviews)
    if not texts:
        return {}
    parts = await _embed(texts, embedder, on_done, version)
    vectors = np.vstack([part.vectors for part in parts])
    return {text: vector for text, vector in zip(texts, vectors, strict=True) if not np.isnan(vector[0])}


def own_texts(texts: ItemTexts, rows: Mapping[str, int], reviews: ItemReviews) -> dict[int, F32]:
    """Returns the vectors of the reviewed items' own texts by row, float32 (dim,), NaN where there is none."""
    return {rows[item_id]: texts.full[rows[item_id]] for item_id in reviews if item_id in rows}


def with_reviews(
    texts: ItemTexts, rows: Mapping[str, int], reviews: ItemReviews, vectors: Mapping[str, F32]
) -> ItemTexts:
    """Returns the items' vectors with what their reviews say of them.

    Args:
        texts: vectors of the items' own texts.
        rows: row of each item.
        reviews: those that a version sees.
        vectors: of the reviews' texts.

    """
    if not len(reviews):
        return texts
    full = texts.full.copy()
    for item_id in reviews:
        found = [vectors[text] for text in reviews.texts(item_id) if text in vectors]
        row = rows.get(item_id)
        if row is not None and found:
            own = None if np.isnan(full[row, 0]) else full[row]
            full[row] = mixed(own, np.stack(found)).astype(np.float16)
    return ItemTexts(full, texts.title)


def titles_needed(items: Sequence[Item], likes: Iterable[I64], parameters: TextParameters) -> Mask:
    """Returns the items whose title alone the models read, bool (items,).

    Those that a version is trained on by their title, and those that lack attributes.

    Args:
        items: the catalogue.
        likes: number of likes of each item as each version sees it, each (items,).
        parameters: hyperparameters of the map.

    """
    encoder = AttributeEncoder.fit(items, parameters)
    needed: Mask = encoder.missing(encoder.encode(items)) > 0
    for own in likes:
        needed[masked_rows(own, parameters)] = True
    return needed


async def _embed(
    texts: Sequence[str], embedder: TextEmbedder, on_done: Callable[[int, int], None], version: str
) -> list[Embedded]:
    """Returns the vectors of the texts, step by step, in order."""
    starts = iter(range(0, len(texts), STEP))
    under_way: deque[asyncio.Task[Embedded]] = deque()
    parts: list[Embedded] = []
    done = 0
    on_done(done, len(texts))
    if not version:
        # The first answer says what is current; the embedding service may swap while this goes on.
        first = next(starts)
        parts.append(await _embed_step(texts[first : first + STEP], embedder, ""))
        version = parts[0].version
        done = len(parts[0].vectors)
        on_done(done, len(texts))
    try:
        while True:
            while len(under_way) < CALLS_UNDER_WAY and (start := next(starts, None)) is not None:
                under_way.append(asyncio.create_task(_embed_step(texts[start : start + STEP], embedder, version)))
            if not under_way:
                return parts
            parts.append(await under_way[0])
            under_way.popleft()
            done += len(parts[-1].vectors)
            on_done(done, len(texts))
    finally:
        for call in under_way:
            call.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)


async def _embed_step(texts: Sequence[str], embedder: TextEmbedder, version: str) -> Embedded:
    return await warmed_up(lambda: embedder.embed(texts, urgent=False, version=version))


async def warmed_up(call: Callable[[], Awaitable[T]]) -> T:
    """Returns the answer to a call; a service that is warming up is waited for, not one that does not answer."""
    until = time.monotonic() + WARM_UP_S
    while True:
        try:
            return await call()
        except ModelNotReady:
            if time.monotonic() > until:
                raise
            await asyncio.sleep(WARM_UP_POLL_S)
