"""Learns how many places each source earns: on the first fold, whose models have not seen what its lists ask for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from services.candidates.index.allowed import Allowed
from services.candidates.merge.quotas import Quotas
from services.candidates.profile import build_profile
from services.candidates.versions.version import About, Version
from shared.data.nouns import temperature

if TYPE_CHECKING:
    from collections.abc import Sequence

    from services.candidates.arrays import I64
    from services.candidates.ports import IndexFactory
    from services.candidates.versions.version import Models
    from shared.data.folds import TrainingList
    from shared.data.nouns import Temperature
    from shared.data.preferences import PreferenceRules

FOLD = "warm-0"
"""The fold that is learned from: its models saw the most."""
PLACES = 500
"""Places given; a request for more gets the rest in the order of reciprocal rank fusion."""


@dataclass(frozen=True)
class QuotaLearner:
    """What learning needs: an index to search in, the sources that share the places, how events are judged."""

    make_index: IndexFactory
    sources: tuple[str, ...]
    rules: PreferenceRules

    def learn(self, models: Models, lists: Sequence[TrainingList]) -> Quotas:
        """Returns the quotas that cover most of what the users of these lists came to like."""
        now = datetime.now(UTC)
        version = Version(About("", now, {}, {}, 0, ""), models, self.make_index)
        asked = [version.sources[name] for name in self.sources if name in version.sources]
        asked = [source for source in asked if source.proposes]
        proposed: list[dict[str, I64]] = []
        relevant: list[I64] = []
        temperatures: list[Temperature] = []
        for one in lists:
            at = one.history[-1].timestamp.timestamp()
            profile = build_profile(one.history, models.table.rows, self.rules, asked_at=at)
            mask = np.ones(len(models.table), bool)
            mask[profile.seen] = False
            allowed = Allowed(mask)
            proposed.append({source.name: source.propose(profile, PLACES, allowed).rows for source in asked})
            relevant.append(np.array(sorted(models.table.rows[item_id] for item_id in one.relevant), np.int64))
            temperatures.append(temperature(profile.events))
        return Quotas.fit(proposed, relevant, PLACES, temperatures)
