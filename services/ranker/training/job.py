"""The training job: lists without leak, all fusion models, one artifact per stage."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from services.ranker.features.registry import NAMES
from services.ranker.fusion.registry import check_fusions
from services.ranker.models.model import KIND, ModelNotes, readable_manifests, save_model
from services.ranker.training.examination import Examination
from services.ranker.training.fitting import train, update
from services.ranker.training.impressions import Impressions, note_of
from services.ranker.training.leak import check_no_leak
from services.ranker.training.lists import ListMaker, drafts, evenly, shown_drafts
from services.ranker.training.shown import VisibleLog
from services.ranker.training.tables import BaseTables, with_counts
from services.ranker.training.versions import choose_versions
from services.ranker.training.warm_start import Beginning
from shared.artifacts.rollback import spared
from shared.data import splits
from shared.data.folds import training_folds, visible_events
from shared.data.item_evidence import ItemReviews, review_texts
from shared.data.splits import Stage, hidden_fifth
from shared.data.texts import item_text
from shared.errors import CorruptData, ModelMismatch, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.ranker.fusion.base import FitContext
    from services.ranker.items.table import ItemTable
    from services.ranker.nouns import ShownNote
    from services.ranker.ports import CandidateFinder, ImpressionReader, TextEncoder
    from services.ranker.settings import RankerSettings
    from services.ranker.training.fitting import Trained
    from services.ranker.training.learned import LearnedList
    from services.ranker.training.versions import CandidateVersions
    from shared.artifacts import ArtifactStore, Manifest
    from shared.data.log import LogSnapshot
    from shared.data.nouns import Event

INFO_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Prepared:
    """What a training stands on: `counting` are all events that count, `visible` those that stage `test` may see.

    `tables` has all items and no event, by encoder; `base` is that of the lists, whose rows are named in them.
    `beginning` is what a warm start goes on from.
    """

    versions: CandidateVersions
    snapshot: LogSnapshot
    counting: Sequence[Event]
    visible: Sequence[Event]
    tables: BaseTables
    base: ItemTable
    lists: Sequence[LearnedList]
    beginning: Beginning | None = None
    examination: Examination = field(default_factory=Examination.flat)
    """What the lists that were shown weigh."""


@dataclass(frozen=True)
class TrainingJob:
    """Trains and publishes for one protocol. `read_snapshot(sequence)` returns the log up to there, impressions aside.

    Without `impressions` only the folds' lists are learned from.
    """

    settings: RankerSettings
    finder: CandidateFinder
    encoder: TextEncoder
    read_snapshot: Callable[[int], Awaitable[LogSnapshot]]
    store: ArtifactStore
    context: FitContext
    impressions: ImpressionReader | None = None

    async def run(
        self, protocol: splits.Protocol, fusions: Sequence[str], *, warm_start: bool = False
    ) -> list[Manifest]:
        """Returns the manifests of what was published; for warm the last one is CURRENT.

        With `warm_start` the fusions of the newest published version go on learning, from the lists of users with
        events since then alone.

        Raises:
            ModelNotReady: candidates lacks versions of the protocol, or there is nothing to learn from.
            LeakFound: labels could have been seen.
            TrainingPackageMissing: what only the training of a fusion needs is not installed.
            ModelMismatch: the candidates versions were trained with other folds or another encoder.
            NotFound: a fusion of that name does not exist.
            DependencyUnavailable: a neighbour does not answer.

        """
        check_fusions(fusions)
        made = await self.prepare(protocol, warm_start=warm_start)
        default, beginning = self.settings.default_variant, made.beginning
        given = (made.lists, default, self.context, made.base, self.settings.negatives)
        if beginning is None:
            trained = await asyncio.to_thread(train, protocol, fusions, *given)
        else:
            trained = await asyncio.to_thread(update, protocol, beginning.load, *given)
        versions, lists = made.versions, made.lists
        seen = {Stage.TEST: made.visible, Stage.SERVING: made.counting}
        shown = note_of(made.examination, lists)
        published = []
        for turn, stage in enumerate(versions.targets):
            self.context.progress.update("publish", turn, len(versions.targets))
            base, texts = await made.tables.of(versions.targets[stage])
            await texts.add(review_texts([ItemReviews.of(seen[stage])]))
            table = with_counts(base, seen[stage], texts)
            lineage = {"candidates": versions.targets[stage].version, "embedding": base.embedding_version}
            labels = {"protocol": protocol.value, "stage": stage.value}
            data: dict[str, object] = {"sequence": versions.sequence, "cursor": made.snapshot.cursor}
            data |= {"events": len(seen[stage]), "items": len(table.ids), "lists": len(lists)}
            data |= {"shown": asdict(shown)}
            data |= {} if beginning is None else {"warm_start_of": beginning.version}
            published.append(await asyncio.to_thread(self._publish, trained, shown, table, lineage, labels, data))
            await asyncio.to_thread(self._prune, labels)
        self.context.progress.update("publish", len(published), len(published))
        return published

    async def prepare(self, protocol: splits.Protocol, *, warm_start: bool = False) -> Prepared:
        """Returns everything that is learned from; raises as `run`."""
        versions = choose_versions((await self.finder.info(INFO_TIMEOUT_S)).versions, protocol)
        snapshot = await self.read_snapshot(versions.sequence)
        beginning = await self._beginning(protocol, snapshot) if warm_start else None
        rules = self.settings.preferences
        counting = [event for event in snapshot.events if rules.counts(event)]
        visible = visible_events(protocol, counting, lambda event: rules.signal(event) > 0)
        tables = BaseTables(snapshot.items, self.encoder, self.context.progress, rules, self.settings.embedding_version)
        users = None if beginning is None else beginning.users
        lists, examination = await self._lists(versions, snapshot, visible, tables, users)
        # The folds are one stage, so they share an encoder.
        base, _ = await tables.of(next(iter(versions.folds.values())))
        return Prepared(versions, snapshot, counting, visible, tables, base, lists, beginning, examination)

    async def _beginning(self, protocol: splits.Protocol, snapshot: LogSnapshot) -> Beginning:
        """Returns the version that a warm start goes on from, and whose lists have changed since."""
        manifest = await asyncio.to_thread(Beginning.newest, self.store, protocol)
        before = await self.read_snapshot(int(manifest.data.get("sequence", 0)))
        return await asyncio.to_thread(Beginning.of, self.store, manifest, before, snapshot, self.settings.preferences)

    async def _lists(
        self,
        versions: CandidateVersions,
        snapshot: LogSnapshot,
        visible: Sequence[Event],
        tables: BaseTables,
        users: frozenset[str] | None,
    ) -> tuple[list[LearnedList], Examination]:
        """Returns the lists of all folds and those that were shown; with `users`, those of these users alone."""
        rules = self.settings.preferences

        def is_positive(event: Event) -> bool:
            return rules.signal(event) > 0

        folds = list(training_folds(visible, is_positive))
        check_no_leak(folds)
        if users is not None:
            folds = [replace(fold, lists=tuple(one for one in fold.lists if one.user_id in users)) for fold in folds]
        new_items = versions.protocol is splits.Protocol.NEW_ITEMS
        hidden = splits.hidden_items(filter(is_positive, snapshot.events)) if new_items else frozenset()
        impressions = Impressions(self.impressions, self.settings, self.context.progress)
        shown = await impressions.shown(VisibleLog(visible, folds, rules, hidden), versions.sequence, users)
        asked = {fold.name for fold in folds if fold.lists} | {one.fold for one in shown}
        lacking = sorted(asked - versions.folds.keys())
        if lacking:
            raise ModelMismatch(f"candidates was trained without the folds {', '.join(lacking)}: train it again")
        share = min(self.settings.training_lists / max(sum(len(fold.lists) for fold in folds), 1), 1.0)
        chosen = {fold.name: evenly(fold.lists, share) for fold in folds}
        held = hidden_fifth(
            {one.user_id for own in chosen.values() for one in own} | {one.list.user_id for one in shown}
        )
        total, done = sum(len(own) for own in chosen.values()) + len(shown), 0

        def on_done(count: int) -> None:
            nonlocal done
            done += count
            self.context.progress.update("lists", done, total)

        def text_of(item_id: str) -> str:
            item = snapshot.items.get(item_id)
            return "" if item is None else item_text(item)

        lists: list[LearnedList] = []
        for fold in folds:
            # One fold after the other: the candidates service keeps only a few pinned versions in memory.
            if fold.name not in asked:
                continue
            candidates = versions.folds[fold.name]
            base, texts = await tables.of(candidates)
            version, k, limit = candidates.version, self.settings.candidates, self.settings.history_limit
            wanted = drafts(chosen[fold.name], version=version, k=k, history_limit=limit)
            own = [one for one in shown if one.fold == fold.name]
            wanted += shown_drafts(own, version=version, k=k, history_limit=limit)
            await texts.add(review_texts([ItemReviews.of(fold.training)]))
            table = with_counts(base, fold.training, texts)
            maker = ListMaker(
                self.finder,
                table,
                texts,
                text_of,
                profile_texts=self.settings.profile_texts,
                held=held,
                negatives=self.settings.negatives,
            )
            await texts.add(text for draft in wanted for text in maker.texts_of(draft))
            lists += await maker.make(wanted, on_done)
        return await asyncio.to_thread(impressions.weighed, lists)

    def _publish(
        self,
        trained: Trained,
        shown: ShownNote,
        table: ItemTable,
        lineage: dict[str, str],
        labels: dict[str, str],
        data: dict[str, object],
    ) -> Manifest:
        metrics = {
            f"{name} {metric}": value for name, own in trained.validation.items() for metric, value in own.items()
        }
        with tempfile.TemporaryDirectory(prefix="ranker-") as folder:
            notes = ModelNotes(trained.default, trained.validation, trained.gates, shown)
            save_model(Path(folder), trained.fusions, notes, table)
            return self.store.publish(
                KIND,
                Path(folder),
                config={"fusions": sorted(trained.fusions), "features": list(NAMES), "default": trained.default},
                data=data,
                lineage=lineage,
                labels=labels,
                metrics={"ndcg@10": trained.validation[trained.default]["ndcg@10"], **metrics},
                make_current=labels["stage"] == Stage.SERVING.value,
            )

    def _prune(self, labels: dict[str, str]) -> None:
        same = [one.version for one in readable_manifests(self.store) if one.labels == labels]
        stays = spared(self.store, KIND)
        for name in same[self.settings.keep_versions :]:
            if name not in stays:
                self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            self.store.delete(KIND, name)
        except (CorruptData, NotFound):
            # CURRENT was pointed at it meanwhile, or another job deletes it: it is not this one's to delete.
            return
