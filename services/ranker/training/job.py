"""The training job: lists without leak, all fusion models, one artifact per stage."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from services.ranker.features.registry import NAMES
from services.ranker.fusion.registry import fusion_class
from services.ranker.models.model import KIND, readable_manifests, save_model
from services.ranker.training.fitting import train
from services.ranker.training.lists import ListMaker, drafts, evenly
from services.ranker.training.tables import base_table, with_counts
from services.ranker.training.vectors import TextVectors
from services.ranker.training.versions import choose_versions
from shared.data.folds import training_folds, visible_events
from shared.data.item_evidence import ItemReviews, review_texts
from shared.data.splits import Stage
from shared.data.texts import item_text
from shared.errors import CorruptData, ModelMismatch, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from services.ranker.items.table import ItemTable
    from services.ranker.ports import CandidateFinder, TextEncoder
    from services.ranker.settings import RankerSettings
    from services.ranker.training.fitting import Trained
    from services.ranker.training.lists import LearnedList
    from services.ranker.training.versions import CandidateVersions
    from shared.artifacts import ArtifactStore, Manifest
    from shared.data import splits
    from shared.data.log import LogSnapshot
    from shared.data.nouns import Event
    from shared.telemetry.progress import JobProgress

INFO_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class TrainingJob:
    """Trains and publishes for one protocol. `read_snapshot(sequence)` returns the log up to there."""

    settings: RankerSettings
    finder: CandidateFinder
    encoder: TextEncoder
    read_snapshot: Callable[[int], Awaitable[LogSnapshot]]
    store: ArtifactStore
    progress: JobProgress

    async def run(self, protocol: splits.Protocol, fusions: Sequence[str]) -> list[Manifest]:
        """Returns the manifests of what was published; for warm the last one is CURRENT.

        Raises:
            ModelNotReady: candidates lacks versions of the protocol, or there is nothing to learn from.
            ModelMismatch: the candidates versions were trained with other folds or another encoder.
            NotFound: a fusion of that name does not exist.
            DependencyUnavailable: a neighbour does not answer.

        """
        for name in fusions:
            fusion_class(name)
        versions = choose_versions((await self.finder.info(INFO_TIMEOUT_S)).versions, protocol)
        snapshot = await self.read_snapshot(versions.sequence)
        rules = self.settings.preferences
        counting = [event for event in snapshot.events if rules.counts(event)]
        visible = visible_events(protocol, counting, lambda event: rules.signal(event) > 0)
        texts = TextVectors(self.encoder, self.progress, self.settings.embedding_version)
        await texts.add(item_text(item) for item in snapshot.items.values())
        base = base_table(snapshot.items, texts, rules)
        lists = await self._lists(versions, snapshot, visible, base, texts)
        trained = await asyncio.to_thread(train, protocol, fusions, lists, self.settings.default_variant, self.progress)
        seen = {Stage.TEST: visible, Stage.SERVING: counting}
        published = []
        for turn, stage in enumerate(versions.targets):
            self.progress.update("publish", turn, len(versions.targets))
            await texts.add(review_texts([ItemReviews.of(seen[stage])]))
            table = with_counts(base, seen[stage], texts)
            lineage = {"candidates": versions.targets[stage].version, "embedding": base.embedding_version}
            labels = {"protocol": protocol.value, "stage": stage.value}
            data: dict[str, object] = {"sequence": versions.sequence, "cursor": snapshot.cursor}
            data |= {"events": len(seen[stage]), "items": len(table.ids), "lists": len(lists)}
            published.append(await asyncio.to_thread(self._publish, trained, table, lineage, labels, data))
            await asyncio.to_thread(self._prune, labels)
        self.progress.update("publish", len(published), len(published))
        return published

    async def _lists(
        self,
        versions: CandidateVersions,
        snapshot: LogSnapshot,
        visible: Sequence[Event],
        base: ItemTable,
        texts: TextVectors,
    ) -> list[LearnedList]:
        rules = self.settings.preferences
        folds = list(training_folds(visible, lambda event: rules.signal(event) > 0))
        lacking = sorted({fold.name for fold in folds if fold.lists} - versions.folds.keys())
        if lacking:
            raise ModelMismatch(f"candidates was trained without the folds {', '.join(lacking)}: train it again")
        share = min(self.settings.training_lists / max(sum(len(fold.lists) for fold in folds), 1), 1.0)
        chosen = {fold.name: evenly(fold.lists, share) for fold in folds}
        total, done = sum(len(own) for own in chosen.values()), 0

        def on_done(count: int) -> None:
            nonlocal done
            done += count
            self.progress.update("lists", done, total)

        def text_of(item_id: str) -> str:
            item = snapshot.items.get(item_id)
            return "" if item is None else item_text(item)

        lists: list[LearnedList] = []
        for fold in folds:
            # One fold after the other: the candidates service keeps only a few pinned versions in memory.
            wanted = drafts(
                chosen[fold.name],
                version=versions.folds[fold.name].version,
                k=self.settings.candidates,
                history_limit=self.settings.history_limit,
            )
            await texts.add(review_texts([ItemReviews.of(fold.training)]))
            table = with_counts(base, fold.training, texts)
            maker = ListMaker(self.finder, table, texts, text_of, profile_texts=self.settings.profile_texts)
            await texts.add(text for draft in wanted for text in maker.texts_of(draft))
            lists += await maker.make(wanted, on_done)
        return lists

    def _publish(
        self,
        trained: Trained,
        table: ItemTable,
        lineage: dict[str, str],
        labels: dict[str, str],
        data: dict[str, object],
    ) -> Manifest:
        metrics = {
            f"{name} {metric}": value for name, own in trained.validation.items() for metric, value in own.items()
        }
        with tempfile.TemporaryDirectory(prefix="ranker-") as folder:
            save_model(Path(folder), trained.fusions, trained.default, trained.validation, table)
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
        for name in same[self.settings.keep_versions :]:
            if name != self.store.current(KIND):
                self._delete(name)

    def _delete(self, name: str) -> None:
        try:
            self.store.delete(KIND, name)
        except (CorruptData, NotFound):
            # CURRENT was pointed at it meanwhile, or another job deletes it: it is not this one's to delete.
            return
