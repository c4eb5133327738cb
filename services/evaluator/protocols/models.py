"""What is measured: each answers a query with a ranking. All but the floor go over the served path."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from services.evaluator.ports import Answer

if TYPE_CHECKING:
    from services.evaluator.ports import Candidates, CandidatesInfo, Ranker, RankerInfo
    from services.evaluator.protocols.plan import Plan, Query

FUSION = "fusion"
RANDOM = "random"


class Model(Protocol):
    """Something that can rank."""

    @property
    def name(self) -> str:
        """Its name in the report."""

    async def answer(self, query: Query) -> Answer:
        """Returns its ranking."""


@dataclass(frozen=True)
class ServedFusion:
    """A fusion model through Ranker.Recommend, or through Ranker.Rank where there is a pool.

    `variant` "" is the ranker's default. `depth` is the number of places asked for.
    """

    name: str
    ranker: Ranker
    version: str
    variant: str
    depth: int
    pool: tuple[str, ...] | None

    async def answer(self, query: Query) -> Answer:
        """Returns the first `depth` places."""
        if self.pool is None:
            return await self.ranker.recommend(query.question, version=self.version, variant=self.variant, k=self.depth)
        depth = min(self.depth, len(self.pool))
        return await self.ranker.rank(
            query.question, version=self.version, variant=self.variant, item_ids=self.pool, k=depth
        )


@dataclass(frozen=True)
class ServedSource:
    """One candidate source alone through Candidates.GetCandidates."""

    name: str
    candidates: Candidates
    version: str
    depth: int
    pool: tuple[str, ...] | None

    async def answer(self, query: Query) -> Answer:
        """Returns the first `depth` places; items of the pool that have no score stand last, in the pool's order."""
        if self.pool is None:
            return await self.candidates.retrieve(query.question, version=self.version, source=self.name, k=self.depth)
        scored = await self.candidates.score(query.question, version=self.version, source=self.name, item_ids=self.pool)
        known = [item for item in self.pool if item in scored.scores]
        unknown = [item for item in self.pool if item not in scored.scores]
        # sorted() is stable: equal scores keep the pool's order.
        known.sort(key=lambda item: -scored.scores[item])
        return Answer((*known, *unknown)[: self.depth], scored.degraded, len(unknown))


@dataclass(frozen=True)
class RandomFloor:
    """A random order of what could be recommended, unseen: what a figure is worth is what it has above this.

    Seeded by `seed`, user and history length, so that it depends neither on the order of the queries nor on the run.
    """

    seed: int
    depth: int
    items: tuple[str, ...]
    name: str = RANDOM

    async def answer(self, query: Query) -> Answer:
        """Returns `depth` random items that are not in the history."""
        key = f"{self.seed}\n{query.user_id}\n{query.history_length}"
        digest = hashlib.sha256(key.encode()).digest()
        order = np.random.default_rng(int.from_bytes(digest[:16], "little")).permutation(len(self.items))
        unseen = (self.items[index] for index in order if self.items[index] not in query.seen)
        return Answer(tuple(item for item, _ in zip(unseen, range(self.depth), strict=False)))


def served_models(
    plan: Plan,
    *,
    ranker: Ranker,
    ranker_version: str,
    ranker_info: RankerInfo,
    candidates: Candidates,
    candidates_version: str,
    candidates_info: CandidatesInfo,
    all_variants: bool,
    depth: int,
    seed: int,
) -> list[Model]:
    """Returns what to measure: the default fusion, the other variants if wanted, every source, the random floor."""
    others = [one for one in ranker_info.variants if all_variants and one != ranker_info.default_variant]
    fusions = [(FUSION, ""), *((f"{FUSION}:{variant}", variant) for variant in others)]
    return [
        *(ServedFusion(name, ranker, ranker_version, variant, depth, plan.pool) for name, variant in fusions),
        *(ServedSource(source, candidates, candidates_version, depth, plan.pool) for source in candidates_info.sources),
        RandomFloor(seed, depth, plan.pool or plan.catalogue),
    ]
