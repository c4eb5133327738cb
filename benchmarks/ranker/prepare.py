"""What the ranker is measured on: the candidates service as a process, lists as the training job makes them."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.candidates.data import movielens
from benchmarks.candidates.fleet import running_fleet
from services.ranker.bootstrap import Neighbours
from services.ranker.fusion.base import FitContext
from services.ranker.settings import RankerSettings
from services.ranker.training.job import TrainingJob
from services.ranker.training.lists import ListMaker, drafts
from services.ranker.training.tables import with_counts
from shared.artifacts import ArtifactStore
from shared.data.folds import ListKind, TrainingList
from shared.data.item_evidence import ItemReviews, review_texts
from shared.data.splits import (
    NEW_USER_HISTORIES,
    TEST_SHARE,
    Protocol,
    Stage,
    by_user,
    hidden_items,
    hidden_users,
    per_user_chronological,
)
from shared.data.texts import item_text
from shared.rpc.feed import read_snapshot
from shared.testing.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from benchmarks.candidates.data import Data
    from benchmarks.candidates.fleet import Fleet
    from services.ranker.training.job import Prepared
    from services.ranker.training.learned import LearnedList
    from shared.data.log import LogSnapshot
    from shared.data.nouns import Event

RULES = RankerSettings().preferences
ALL_PINNED = {"CANDIDATES_PINNED_VERSIONS": "8"}
"""All versions that a training asks fit into memory at once."""


@dataclass(frozen=True)
class Judged:
    """A list of the test, and how many items are relevant in all, found or not."""

    list: LearnedList
    relevant: int
    history: int


@dataclass(frozen=True)
class Material:
    """Lists to learn from, and the lists that are measured on."""

    prepared: Prepared
    test: list[Judged]


@contextmanager
def trained_fleet(folder: Path, protocols: Sequence[Protocol], data: Data) -> Iterator[Fleet]:
    """Runs ingestion and embedding with `data`; candidates are trained for these protocols.

    Neither happens where `folder` has that already.
    """
    fresh = not (folder / "events.db").exists()
    with running_fleet(folder, data if fresh else None) as fleet:
        environment = {**os.environ, **fleet.environment}
        for protocol in protocols:
            done = folder / f"trained-{protocol.value}"
            if not done.exists():
                command = [sys.executable, "-m", "services.candidates", "train", "--protocol", protocol.value]
                subprocess.run(command, cwd=ROOT, env=environment, stderr=subprocess.DEVNULL, check=True)
                done.touch()
        yield fleet


@contextmanager
def services(folder: Path, protocols: Sequence[Protocol], *, small: bool) -> Iterator[RankerSettings]:
    """Runs ingestion, embedding and candidates, trained for these protocols unless `folder` has that already."""
    with (
        trained_fleet(folder, protocols, movielens(small=small)) as fleet,
        fleet.candidates(ALL_PINNED) as candidates,
    ):
        yield RankerSettings(
            ingestion_address=fleet.ingestion.address,
            embedding_address=fleet.embedding.address,
            candidates_address=candidates.address,
            artifacts=str(folder / "ranker"),
        )


async def material(settings: RankerSettings, protocol: Protocol) -> Material:
    """Returns the lists of a protocol, asked of the running services."""
    near = Neighbours.connect(settings)

    async def snapshot(sequence: int) -> LogSnapshot:
        return await read_snapshot(near.feed, up_to=sequence)

    try:
        store = ArtifactStore(settings.artifacts)
        job = TrainingJob(settings, near.candidates, near.embedding, snapshot, store, FitContext())
        prepared = await job.prepare(protocol)
        return Material(prepared, await _test(near, prepared, settings, protocol))
    finally:
        await near.close()


async def _test(near: Neighbours, made: Prepared, settings: RankerSettings, protocol: Protocol) -> list[Judged]:
    items = made.snapshot.items
    base, texts = await made.tables.of(made.versions.targets[Stage.TEST])
    await texts.add(review_texts([ItemReviews.of(made.visible)]))
    table = with_counts(base, made.visible, texts)
    cases = list(_cases(protocol, made.counting))

    def text_of(item_id: str) -> str:
        item = items.get(item_id)
        return "" if item is None else item_text(item)

    wanted = drafts(
        cases,
        version=made.versions.targets[Stage.TEST].version,
        k=settings.candidates,
        history_limit=settings.history_limit,
        as_served=True,
    )
    users = frozenset(one.user_id for one in cases)
    maker = ListMaker(near.candidates, table, texts, text_of, profile_texts=settings.profile_texts, held=users)
    await texts.add(text for draft in wanted for text in maker.texts_of(draft))
    out = []
    for draft, made_list in zip(wanted, await maker.make(wanted, lambda _count: None, keep_all=True), strict=True):
        out.append(Judged(made_list, len(draft.list.relevant), len(draft.list.history)))
    return out


def _cases(protocol: Protocol, events: Sequence[Event]) -> Iterator[TrainingList]:
    """Yields what the evaluator asks (`services/evaluator/protocols`): the same splits, the same relevant items."""
    users = by_user(events)
    if protocol is Protocol.WARM:
        for user, split in per_user_chronological(users, TEST_SHARE, TEST_SHARE).items():
            yield from _case(user, ListKind.WARM, split.train, split.test)
    elif protocol is Protocol.NEW_USERS:
        for user in sorted(hidden_users(events)):
            for count in NEW_USER_HISTORIES:
                yield from _case(user, ListKind.COLD_USER, users[user][:count], users[user][count:])
    else:
        hidden = hidden_items(event for event in events if _positive(event))
        for user, own in users.items():
            shown = [event for event in own if event.item_id not in hidden]
            among = [event for event in own if event.item_id in hidden]
            yield from _case(user, ListKind.NEW_ITEMS, shown, among, hidden)


def _case(
    user: str,
    kind: ListKind,
    history: Iterable[Event],
    later: Iterable[Event],
    pool: frozenset[str] | None = None,
) -> Iterator[TrainingList]:
    before = tuple(history)
    relevant = {event.item_id for event in later if _positive(event)} - {event.item_id for event in before}
    if before and relevant:
        yield TrainingList(user, kind, before, frozenset(relevant), pool)


def _positive(event: Event) -> bool:
    return RULES.signal(event) > 0
