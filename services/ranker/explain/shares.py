"""What each source gave to a result: its share in the merged evidence."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.sources import RRF_CONSTANT
from services.ranker.nouns import SourceShare

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.ranker.nouns import CandidateTable


def source_shares(candidates: CandidateTable, places: Sequence[int]) -> list[tuple[SourceShare, ...]]:
    """Returns, per place, one entry per source that knows the candidate, the largest share first.

    The share is 1 / (60 + rank), normalised over the sources that proposed the item; 0 for the others.
    """
    names = list(candidates.scores)
    if not names or not places:
        return [() for _ in places]
    scores = np.stack([candidates.scores[name][places] for name in names], axis=1)
    ranks = np.stack([candidates.ranks[name][places] for name in names], axis=1)
    weights = np.where(ranks > 0, 1 / (RRF_CONSTANT + ranks), 0)
    shares = weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    rows = zip(scores.tolist(), ranks.tolist(), shares.tolist(), strict=True)
    return [_ordered(names, *row) for row in rows]


def _ordered(
    names: Sequence[str], scores: Sequence[float], ranks: Sequence[int], shares: Sequence[float]
) -> tuple[SourceShare, ...]:
    found = [
        SourceShare(name, rank, score, share)
        for name, rank, score, share in zip(names, ranks, scores, shares, strict=True)
        if not math.isnan(score)
    ]
    return tuple(sorted(found, key=lambda one: (-one.share, one.source)))
