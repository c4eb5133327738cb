"""The history items that speak for a result: by behaviour, by text."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.nouns import CandidateQuery
from shared.data.limits import MAX_BATCH_CANDIDATES_K
from shared.errors import FusionrecError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.features.language import JudgedVectors
    from services.ranker.items.arrays import F32, Rows
    from services.ranker.items.table import ItemTable
    from services.ranker.pipeline.call import Call
    from services.ranker.pipeline.timeouts import Timeouts
    from services.ranker.ports import CandidateFinder

BEHAVIOUR, TEXT = "behaviour", "text"
MAX_REASONS = 5
MAX_HISTORY_ITEMS = 100
"""Newest liked items that are asked about; fewer when there are many results."""
BEHAVIOUR_SOURCE = "item_item"
"""The source whose score for a history of one item is what that item says for a result."""


class Reasons:
    """How strongly each of the newest liked items speaks for each result."""

    def __init__(self, finder: CandidateFinder, timeouts: Timeouts) -> None:
        self._finder = finder
        self._timeouts = timeouts

    async def behaviour(self, call: Call, item_ids: Sequence[str]) -> F32 | None:
        """Returns item-item weights, float32 (liked items, results), at least 0; None when candidates cannot say.

        Each liked item is sent as a history of its own, and the results are scored for it.
        """
        events = {event.item_id: event for event in call.user().history}
        liked = asked_items(call, len(item_ids))
        if not liked or not item_ids or "candidates" in call.degraded:
            return None
        queries = [
            CandidateQuery(
                history=(events[item_id],),
                k=len(item_ids),
                sources=(BEHAVIOUR_SOURCE,),
                score_item_ids=tuple(item_ids),
                model_version=call.candidates_version,
                as_of=call.question.as_of,
            )
            for item_id in liked
        ]
        try:
            answers = await self._finder.find_many(queries, self._timeouts.candidates())
        except FusionrecError:
            # Reasons are worth less than the answer: without them, the texts still speak.
            return None
        nothing = np.zeros(len(item_ids), dtype=np.float32)
        rows = [np.nan_to_num(answer.scores.get(BEHAVIOUR_SOURCE, nothing), nan=0.0) for answer in answers]
        return np.asarray(np.maximum(np.stack(rows), 0), dtype=np.float32)


def asked_items(call: Call, results: int) -> list[str]:
    """Returns the newest liked items, newest first: as many as one batch may ask about that many results."""
    count = min(MAX_HISTORY_ITEMS, MAX_BATCH_CANDIDATES_K // max(results, 1))
    return list(reversed(call.user().liked[-count:]))


def text_similarity(table: ItemTable, liked: Sequence[str], item_ids: Sequence[str]) -> F32:
    """Returns cosines of item vectors, float32 (liked items, results), at least 0; 0 where a vector is missing."""
    left, _ = table.centred(table.find(liked))
    right, _ = table.centred(table.find(item_ids))
    return np.asarray(np.maximum(left @ right.T, 0), dtype=np.float32)


def attended(judged: JudgedVectors, attention: F32, liked: Rows) -> F32:
    """Returns what a network's attention says of the liked items: float32 (liked items, results).

    `attention`: float32 (results, judged items). Items that were liked before the judged ones that it has seen get 0,
    and so do those that were judged otherwise since.
    """
    place_of = {int(row): place for place, row in enumerate(judged.rows) if judged.weights[place] > 0}
    out = np.zeros((len(liked), len(attention)), dtype=np.float32)
    for turn, row in enumerate(liked.tolist()):
        if row in place_of:
            out[turn] = attention[:, place_of[row]]
    return out


def strongest(
    liked: Sequence[str], behaviour: F32 | None, text: F32, cf: float, language: float
) -> list[tuple[str, float, str]]:
    """Returns (item id, weight, kind) for one result, strongest first, at most 5, weights as shares of all that speak.

    `behaviour` and `text` are float32 (liked items,). The two kinds are weighed by what CF and text add to the score;
    a kind that takes away still speaks with a tenth. An item that speaks in both ways is named once, with the sum of
    both weights and the kind of the larger one.
    """
    kinds = {TEXT: (text, max(language, 0.0))}
    if behaviour is not None:
        kinds[BEHAVIOUR] = (behaviour, max(cf, 0.0))
    floor = 0.1 * max((worth for _, worth in kinds.values()), default=0.0) or 1.0
    found: dict[str, dict[str, float]] = {}
    for kind, (values, worth) in kinds.items():
        total = float(values.sum())
        for item_id, value in zip(liked, values.tolist(), strict=True):
            if value > 0:
                found.setdefault(item_id, {})[kind] = max(worth, floor) * value / total
    everything = sum(weight for parts in found.values() for weight in parts.values())
    ordered = sorted(found.items(), key=lambda one: (-sum(one[1].values()), one[0]))[:MAX_REASONS]
    return [
        (item_id, sum(parts.values()) / everything, max(parts, key=lambda kind: parts[kind]))
        for item_id, parts in ordered
    ]
