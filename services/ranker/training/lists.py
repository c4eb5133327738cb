"""Training lists: what the fold's candidates models answer, and what turned out to be relevant.

Each list is asked of models that have not seen its labels (`shared/data/folds.py`). Some come without the language
model, as answers do while the embedding service is down.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

import numpy as np

from services.ranker.features.compute import FeatureInputs, compute
from services.ranker.features.profile import TextProfile, UserProfile
from services.ranker.features.registry import NAMES
from services.ranker.fusion.base import RankingLists
from services.ranker.nouns import CandidateQuery
from services.ranker.together import together
from shared.data.folds import ListKind
from shared.data.limits import MAX_CANDIDATES
from shared.data.nouns import HistoryEvent, SeenPolicy
from shared.data.texts import profile_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from services.ranker.items.arrays import F32
    from services.ranker.items.table import ItemTable
    from services.ranker.nouns import CandidateTable
    from services.ranker.ports import CandidateFinder
    from services.ranker.training.vectors import TextVectors
    from shared.data.folds import TrainingList
    from shared.data.nouns import Event

FIND_TIMEOUT_S = 120.0
BATCH = 25
CONCURRENCY = 2
JUST_AFTER = timedelta(seconds=1)
NO_LANGUAGE_MODEL_EVERY = 12


@dataclass(frozen=True)
class Draft:
    """One list before its candidates are known. `language_model` False: as while embedding is down."""

    list: TrainingList
    query: CandidateQuery
    language_model: bool


@dataclass(frozen=True)
class LearnedList:
    """One list to learn from: features float32 (n, features), labels float32 (n,), both liked and not."""

    kind: ListKind
    user_id: str
    features: F32
    labels: F32


def drafts(lists: Sequence[TrainingList], *, version: str, k: int, history_limit: int) -> list[Draft]:
    """Returns the questions of the lists to the candidates version that was fitted for them."""
    out = []
    for turn, one in enumerate(lists):
        history = _history(one.history[-history_limit:])
        seen = {event.item_id for event in one.history}
        pool = () if one.pool is None else _cut(sorted(one.pool - seen), one.relevant)
        query = CandidateQuery(
            history=history,
            k=max(len(pool), 1) if one.pool is not None else k,
            seen_policy=SeenPolicy.HIDE_ALL_SEEN,
            score_item_ids=pool,
            model_version=version,
            as_of=history[-1].timestamp + JUST_AFTER,
        )
        if one.pool is None or pool:
            out.append(Draft(one, query, language_model=turn % NO_LANGUAGE_MODEL_EVERY != 0))
    return out


def evenly(lists: Sequence[TrainingList], share: float) -> list[TrainingList]:
    """Returns a share, 0 to 1, of the lists, the same of every kind, spread over their order; at least one of each."""
    out: list[TrainingList] = []
    for kind in ListKind:
        own = [one for one in lists if one.kind is kind]
        count = max(round(share * len(own)), min(len(own), 1))
        out += [own[place] for place in np.linspace(0, len(own) - 1, count).astype(int)] if own else []
    return out


class ListMaker:
    """Turns drafts into lists: candidates from the service, features from the fold's own item table."""

    def __init__(
        self,
        finder: CandidateFinder,
        table: ItemTable,
        texts: TextVectors,
        text_of: Callable[[str], str],
        *,
        profile_texts: int,
    ) -> None:
        self._finder = finder
        self._table = table
        self._texts = texts
        self._text_of = text_of
        self._profile_texts = profile_texts

    async def make(self, wanted: Sequence[Draft], on_done: Callable[[int], None]) -> list[LearnedList]:
        """Returns the lists that hold both relevant and other items, in order. `on_done(n)`: n more are done.

        Raises:
            DependencyUnavailable: candidates does not answer.

        """
        permits = asyncio.Semaphore(CONCURRENCY)

        async def one(batch: Sequence[Draft]) -> list[LearnedList]:
            async with permits:
                answers = await self._finder.find_many([draft.query for draft in batch], FIND_TIMEOUT_S)
                made = await asyncio.to_thread(self._lists, batch, answers)
            on_done(len(batch))
            return made

        batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        return [made for part in await together(one(batch) for batch in batches) for made in part]

    def texts_of(self, draft: Draft) -> list[str]:
        """Returns the texts of a draft's text profile."""
        profile = UserProfile.of(draft.query.history, self._table.preferences)
        likes = [self._text_of(item_id) for item_id in profile.liked[-self._profile_texts :]]
        return profile_texts(likes, profile.reviews, self._profile_texts)

    def _lists(self, batch: Sequence[Draft], answers: Sequence[CandidateTable]) -> list[LearnedList]:
        made = []
        for draft, answer in zip(batch, answers, strict=True):
            labels = np.isin(answer.item_ids, list(draft.list.relevant)).astype(np.float32)
            if labels.any() and not labels.all():
                features = self._features(draft, answer)
                made.append(LearnedList(draft.list.kind, draft.list.user_id, features, labels))
        return made

    def _features(self, draft: Draft, answer: CandidateTable) -> F32:
        table = self._table
        vectors = [self._texts.get(text) for text in self.texts_of(draft)]
        known = [vector for vector in vectors if vector is not None]
        texts = None
        if known:
            texts = TextProfile(table.centre_off(np.stack(known), np.ones(len(known), dtype=np.bool_)))
        at = draft.query.as_of
        return compute(
            FeatureInputs(
                table=table,
                candidates=answer,
                profile=UserProfile.of(draft.query.history, table.preferences),
                texts=texts,
                at_second=0 if at is None else int(at.timestamp()),
                language_model=draft.language_model,
            )
        )


def thinned(one: LearnedList, max_negatives: int, random: np.random.Generator) -> LearnedList:
    """Returns the list with at most `max_negatives` rows that were not relevant, drawn at random."""
    negatives = np.flatnonzero(one.labels == 0)
    if len(negatives) <= max_negatives:
        return one
    drawn = random.choice(negatives, max_negatives, replace=False)
    rows = np.sort(np.concatenate([np.flatnonzero(one.labels > 0), drawn]))
    return replace(one, features=one.features[rows], labels=one.labels[rows])


def stacked(lists: Sequence[LearnedList]) -> RankingLists:
    """Returns the lists as arrays."""
    empty = np.zeros((0, len(NAMES)), dtype=np.float32)
    return RankingLists(
        features=np.concatenate([empty, *(one.features for one in lists)]),
        labels=np.concatenate([empty[:, 0], *(one.labels for one in lists)]),
        sizes=np.array([len(one.labels) for one in lists], dtype=np.int64),
        weights=np.ones(len(lists), dtype=np.float32),
    )


def _history(events: Iterable[Event]) -> tuple[HistoryEvent, ...]:
    return tuple(HistoryEvent(one.item_id, one.type, one.timestamp, one.value, one.text) for one in events)


def _cut(pool: Sequence[str], relevant: frozenset[str]) -> tuple[str, ...]:
    """Returns at most as many items as one call can score, the relevant ones always."""
    if len(pool) <= MAX_CANDIDATES:
        return tuple(pool)
    kept = [item_id for item_id in pool if item_id in relevant][:MAX_CANDIDATES]
    others = [item_id for item_id in pool if item_id not in relevant]
    step = max(len(others) // max(MAX_CANDIDATES - len(kept), 1), 1)
    return tuple(sorted((kept + others[::step])[:MAX_CANDIDATES]))
