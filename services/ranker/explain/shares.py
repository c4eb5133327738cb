"""What each source gave to a result: its share in the merged evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.compute import RRF_CONSTANT
from services.ranker.nouns import SourceShare

if TYPE_CHECKING:
    from services.ranker.nouns import CandidateTable


def source_shares(candidates: CandidateTable, place: int) -> tuple[SourceShare, ...]:
    """Returns one entry per source that knows the candidate, the largest share first.

    The share is 1 / (60 + rank), normalised over the sources that proposed the item; 0 for the others.
    """
    ranks = {name: int(column[place]) for name, column in candidates.ranks.items()}
    weights = {name: 1 / (RRF_CONSTANT + rank) for name, rank in ranks.items() if rank > 0}
    total = sum(weights.values())
    shares = [
        SourceShare(name, ranks[name], float(column[place]), weights.get(name, 0.0) / total if total else 0.0)
        for name, column in candidates.scores.items()
        if not np.isnan(column[place])
    ]
    return tuple(sorted(shares, key=lambda one: (-one.share, one.source)))
