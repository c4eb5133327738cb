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

from services.ranker.features.compute import FeatureInputs, ranking_input
from services.ranker.features.language import JudgedVectors
from services.ranker.features.profile import TextProfile, UserProfile, review_count
from services.ranker.nouns import CandidateQuery
from services.ranker.together import together
from services.ranker.training.learned import LearnedList, thinned
from services.ranker.training.negatives import UNIFORM
from shared.data.folds import ListKind
from shared.data.limits import MAX_CANDIDATES
from shared.data.nouns import EventType, HistoryEvent, SeenPolicy
from shared.data.texts import profile_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from services.ranker.fusion.base import RankingInput
    from services.ranker.items.arrays import F32
    from services.ranker.items.table import ItemTable
    from services.ranker.nouns import CandidateTable
    from services.ranker.ports import CandidateFinder
    from services.ranker.training.negatives import Negatives
    from services.ranker.training.shown import ShownList
    from services.ranker.training.vectors import TextVectors
    from shared.data.folds import TrainingList
    from shared.data.nouns import Event

FIND_TIMEOUT_S = 120.0
BATCH = 25
CONCURRENCY = 2
JUST_AFTER = timedelta(seconds=1)
NEXT_DAY = timedelta(days=1)
NO_LANGUAGE_MODEL_EVERY = 12
NEXT_DAY_EVERY = 5
"""One of this many lists is asked a day after the history ends: outside of the session."""
RATING = "rating"
RATED = frozenset({EventType.RATING, EventType.REVIEW})
HEADS: Mapping[str, frozenset[EventType]] = {
    "click": frozenset({EventType.CLICK, EventType.VIEW}),
    "purchase": frozenset({EventType.PURCHASE, EventType.ADD_TO_CART}),
}
"""Event types that each outcome is read from."""


@dataclass(frozen=True)
class Draft:
    """One list before its candidates are known. `language_model` False: as while embedding is down.

    `shown`: the list as it was shown; its rows are what is learned from, among the candidates that it competed with.
    """

    list: TrainingList
    query: CandidateQuery
    language_model: bool
    shown: ShownList | None = None


def drafts(
    lists: Sequence[TrainingList], *, version: str, k: int, history_limit: int, as_served: bool = False
) -> list[Draft]:
    """Returns the questions of the lists to the candidates version that was fitted for them.

    With `as_served` none of them comes without the language model or on another day.
    """
    out = []
    for turn, one in enumerate(lists):
        history = _history(one.history[-history_limit:])
        seen = {event.item_id for event in one.history}
        another_day = not as_served and turn % NEXT_DAY_EVERY == NEXT_DAY_EVERY - 1
        pool = () if one.pool is None else _cut(sorted(one.pool - seen), one.relevant)
        query = CandidateQuery(
            history=history,
            k=max(len(pool), 1) if one.pool is not None else k,
            seen_policy=SeenPolicy.HIDE_ALL_SEEN,
            score_item_ids=pool,
            model_version=version,
            as_of=history[-1].timestamp + (NEXT_DAY if another_day else JUST_AFTER),
        )
        if one.pool is None or pool:
            out.append(Draft(one, query, language_model=as_served or turn % NO_LANGUAGE_MODEL_EVERY != 0))
    return out


def shown_drafts(lists: Sequence[ShownList], *, version: str, k: int, history_limit: int) -> list[Draft]:
    """Returns the questions of lists that were shown, as of the moments that they were."""
    return [
        Draft(
            one.list,
            CandidateQuery(
                history=_history(one.list.history[-history_limit:]),
                k=k,
                seen_policy=SeenPolicy.HIDE_ALL_SEEN,
                model_version=version,
                as_of=one.shown_at,
            ),
            language_model=True,
            shown=one,
        )
        for one in lists
    ]


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
        held: frozenset[str] = frozenset(),
        negatives: Negatives = UNIFORM,
    ) -> None:
        """Lists of the users in `held` keep all their rows: they are measured on."""
        self._finder = finder
        self._table = table
        self._texts = texts
        self._text_of = text_of
        self._profile_texts = profile_texts
        self._held = held
        self._negatives = negatives

    async def make(
        self, wanted: Sequence[Draft], on_done: Callable[[int], None], *, keep_all: bool = False
    ) -> list[LearnedList]:
        """Returns the lists that hold both relevant and other items, in order; all of them with `keep_all`.

        `on_done(n)`: n more are done.

        Raises:
            DependencyUnavailable: candidates does not answer.

        """
        permits = asyncio.Semaphore(CONCURRENCY)

        async def one(batch: Sequence[Draft]) -> list[LearnedList]:
            async with permits:
                answers = await self._answers(batch)
                made = await asyncio.to_thread(self._lists, batch, answers, keep_all=keep_all)
            on_done(len(batch))
            return made

        batches = [wanted[start : start + BATCH] for start in range(0, len(wanted), BATCH)]
        return [made for part in await together(one(batch) for batch in batches) for made in part]

    async def _answers(self, batch: Sequence[Draft]) -> list[CandidateTable]:
        """Returns the candidates of each draft, and after them those that were shown and are not among them."""
        answers = await self._finder.find_many([draft.query for draft in batch], FIND_TIMEOUT_S)
        lacking: dict[int, tuple[str, ...]] = {}
        for turn, (draft, answer) in enumerate(zip(batch, answers, strict=True)):
            if draft.shown is not None and (ids := draft.shown.positions.keys() - set(answer.item_ids)):
                lacking[turn] = tuple(sorted(ids))
        if lacking:
            more = [replace(batch[turn].query, k=len(ids), score_item_ids=ids) for turn, ids in lacking.items()]
            found = await self._finder.find_many(more, FIND_TIMEOUT_S)
            for turn, answer in zip(lacking, found, strict=True):
                answers[turn] = answers[turn].extended(answer)
        return answers

    def texts_of(self, draft: Draft) -> list[str]:
        """Returns the texts of a draft's text profile."""
        profile = UserProfile.of(draft.query.history, self._table.preferences)
        likes = [self._text_of(item_id) for item_id in profile.liked[-self._profile_texts :]]
        return profile_texts(likes, profile.reviews, self._profile_texts)

    def _lists(self, batch: Sequence[Draft], answers: Sequence[CandidateTable], *, keep_all: bool) -> list[LearnedList]:
        made = []
        for draft, answer in zip(batch, answers, strict=True):
            labels = np.isin(answer.item_ids, list(draft.list.relevant)).astype(np.float32)
            if keep_all or (labels.any() and not labels.all()):
                made.append(self._list(draft, answer, labels))
        # Of what was shown, items may have left the catalogue.
        return [
            one for one in made if keep_all or not len(one.positions) or (one.labels.any() and not one.labels.all())
        ]

    def _list(self, draft: Draft, answer: CandidateTable, labels: F32) -> LearnedList:
        table, one = self._table, draft.list
        profile = UserProfile.of(draft.query.history, table.preferences)
        whole = LearnedList(
            one.kind,
            one.user_id,
            self._input(draft, answer, profile).features,
            labels,
            outcomes=outcomes_of(one.later, answer.item_ids),
            held=one.user_id in self._held,
        )
        if draft.language_model:
            judged = JudgedVectors.of(table, profile)
            items = table.find(answer.item_ids)
            whole = replace(whole, items=items, history=judged.rows, weights=judged.weights)
        # Only now: places and relative scores are within the whole list.
        if draft.shown is not None:
            return _rows_shown(whole, draft.shown, answer)
        return whole if whole.held else thinned(whole, self._negatives)

    def _input(self, draft: Draft, answer: CandidateTable, profile: UserProfile) -> RankingInput:
        table = self._table
        reviews = review_count(profile.reviews, self._profile_texts)
        found = [self._texts.get(text) for text in self.texts_of(draft)]
        known = [vector for vector in found if vector is not None]
        texts = None
        if known:
            own = sum(vector is not None for vector in found[:reviews])
            texts = TextProfile(table.centre_off(np.stack(known), np.ones(len(known), dtype=np.bool_)), own)
        at = draft.query.as_of
        return ranking_input(
            FeatureInputs(
                table=table,
                candidates=answer,
                profile=profile,
                texts=texts,
                at_second=0 if at is None else int(at.timestamp()),
                language_model=draft.language_model,
            )
        )


def outcomes_of(later: Iterable[Event], item_ids: Sequence[str]) -> dict[str, F32]:
    """Returns what the user did with each item later, by head, where events of that kind are known at all.

    "click" and "purchase": float32 (n,), 0 or 1. "rating": float32 (n,), NaN where the user did not rate.
    """
    events = list(later)
    kinds = {event.type for event in events}
    out: dict[str, F32] = {}
    for head, wanted in HEADS.items():
        if kinds & wanted:
            done = {event.item_id for event in events if event.type in wanted}
            out[head] = np.array([item_id in done for item_id in item_ids], dtype=np.float32)
    ratings = {event.item_id: event.value for event in events if event.type in RATED and event.value is not None}
    if ratings:
        out[RATING] = np.array([ratings.get(item_id, np.nan) for item_id in item_ids], dtype=np.float32)
    return out


def _rows_shown(whole: LearnedList, shown: ShownList, answer: CandidateTable) -> LearnedList:
    rows = np.array([row for row, item_id in enumerate(answer.item_ids) if item_id in shown.positions], dtype=np.intp)
    positions = np.array([shown.positions[answer.item_ids[row]] for row in rows], dtype=np.int64)
    return replace(whole.take(rows), positions=positions, explored=shown.explored)


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
