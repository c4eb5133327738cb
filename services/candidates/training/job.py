"""The job: reads the log once, embeds the catalogue once per encoder, trains and publishes a protocol's versions."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog

from services.candidates.catalogue.table import ItemTable
from services.candidates.sources.registry import check_kinds, wanted_kinds
from services.candidates.training.embedding import embed_items, embed_reviews, own_texts, titles_needed, with_reviews
from services.candidates.training.encoders import encoder_of_stages
from services.candidates.training.likes import likes_of
from services.candidates.training.plan import plan_versions, serving_version
from services.candidates.training.quotas import FOLD
from services.candidates.training.trainer import fit_models
from services.candidates.versions.files import save_indexes, save_models
from services.candidates.versions.version import KIND
from shared.artifacts.rollback import spared
from shared.data.item_evidence import ItemReviews
from shared.data.nouns import Item
from shared.data.splits import Stage
from shared.errors import CorruptData, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from services.candidates.merge.quotas import Quotas
    from services.candidates.ports import AlsEngine, IndexBuilder, JudgedLog, VersionedEmbedder
    from services.candidates.sources.aligned_text import ItemTexts
    from services.candidates.sources.hyperparameters import Hyperparameters
    from services.candidates.training.likes import Likes
    from services.candidates.training.plan import PlannedVersion
    from services.candidates.training.quotas import QuotaLearner
    from shared.artifacts import ArtifactStore, Manifest
    from shared.data.log import LogSnapshot
    from shared.data.preferences import PreferenceRules
    from shared.data.splits import Protocol
    from shared.telemetry.progress import JobProgress

log = structlog.get_logger(__name__)


class NothingToLearn(Exception):
    """The log holds nothing to train on; the message says what to do."""


@dataclass(frozen=True)
class TrainingJob:
    """What the job needs; `keep_versions` of each kind stay in the store, older ones are deleted."""

    embedder: VersionedEmbedder
    store: ArtifactStore
    rules: PreferenceRules
    parameters: Hyperparameters
    sources: tuple[str, ...]
    """Names of the sources to train (`sources/registry.py`)."""
    keep_versions: int
    progress: JobProgress
    builder: IndexBuilder
    """Builds the indexes of a large catalogue."""
    quotas: QuotaLearner | None = None
    """Learns quotas when the stage `fit` is trained, for all versions trained with it; None: none are learned."""
    als_engine: AlsEngine | None = None
    """What fits the matrix factorisation; None: this process."""
    embedding_version: str = ""
    """Version of the language model that makes all vectors; empty: what suits each stage (`training/encoders.py`)."""

    async def run(self, protocol: Protocol, stages: Collection[Stage], snapshot: LogSnapshot) -> list[Manifest]:
        """Trains and publishes; returns the manifests in the order of publishing.

        Raises:
            NothingToLearn: no events, no positives, or no catalogue.
            DependencyUnavailable: the embedding service does not answer, or the engine fails.
            ModelMismatch: it changed its model meanwhile, or has none for what is measured.
            FusionrecError: a source cannot be trained here.

        """
        self._check(snapshot)
        check_kinds(wanted_kinds(self.sources))
        table = _table(snapshot, {event.item_id for event in snapshot.events})
        planned = list(plan_versions(protocol, stages, snapshot.events, self.rules))
        encoders = await encoder_of_stages(self.embedder, self.embedding_version, protocol, stages)
        # One encoder after the other, each with the versions that need it: no more than one's vectors are in memory.
        quotas: Quotas | None = None
        manifests: list[Manifest] = []
        for encoder, own in groupby(planned, key=lambda one: encoders[Stage(one.labels["stage"])]):
            versions = [(one, likes_of(one.events, table.rows, self.rules)) for one in own]
            made, quotas = await self._train(snapshot, table, versions, encoder, quotas)
            manifests += made
        return manifests

    async def run_serving(self, catalogue: LogSnapshot, log: JudgedLog) -> list[Manifest]:
        """Trains and publishes what users get, on a log that was judged elsewhere: no event becomes an object here.

        Raises:
            NothingToLearn: no events, no positives, or no catalogue.
            DependencyUnavailable: the embedding service does not answer, or the engine fails.
            ModelMismatch: it changed its model meanwhile.

        """
        check_kinds(wanted_kinds(self.sources))
        events = log.events_by_item()
        table = _table(catalogue, events)
        likes = log.likes(table.rows)
        if not catalogue.items or not likes.matrix.nnz:
            raise NothingToLearn("the export has no items, or no event in it is a positive")
        versions = [(serving_version(sum(events.values())), likes)]
        manifests, _ = await self._train(catalogue, table, versions, self.embedding_version, None)
        return manifests

    async def _train(
        self,
        snapshot: LogSnapshot,
        table: ItemTable,
        versions: Sequence[tuple[PlannedVersion, Likes]],
        encoder: str,
        quotas: Quotas | None,
    ) -> tuple[list[Manifest], Quotas | None]:
        """Trains and publishes the versions of one encoder; returns them, and the quotas: the given ones, or newer."""
        texts, embedding = await self._embed(table, [likes for _, likes in versions], encoder)
        seen = [ItemReviews.of(one.events) for one, _ in versions]
        said = await embed_reviews(seen, self.embedder, self._on_reviews, embedding)
        manifests = []
        for done, (one, likes) in enumerate(versions):
            self.progress.update("train", done, len(versions))
            # Each version reads the reviews among its own events only: a hidden one would give its writer away.
            with_them = with_reviews(texts, table.rows, seen[done], said)
            models = fit_models(table, with_them, likes, self.parameters, self.sources, self.als_engine)
            if self.quotas is not None and one.labels.get("fold") == FOLD and one.lists:
                quotas = self.quotas.learn(models, one.lists)
            own = own_texts(texts, table.rows, seen[done])
            models = replace(models, quotas=quotas, reviews=seen[done], own_texts=own)
            with tempfile.TemporaryDirectory(prefix="candidates-") as folder:
                save_models(models, Path(folder))
                indexes = save_indexes(models, Path(folder), self.builder, embedding)
                manifests.append(self._publish(one, Path(folder), snapshot, embedding, table, indexes))
            self._prune(one)
        self.progress.update("train", len(versions), len(versions))
        return manifests, quotas

    def _check(self, snapshot: LogSnapshot) -> None:
        if not snapshot.events:
            raise NothingToLearn("there are no events to learn from: run `fusionrec import events FILE` first")
        if not snapshot.items:
            raise NothingToLearn("there are no items in the catalogue: run `fusionrec import items FILE` first")
        if not any(self.rules.signal(event) > 0 for event in snapshot.events):
            raise NothingToLearn(
                f"none of the {len(snapshot.events)} events is a positive: ratings count from "
                f"{self.rules.positive_rating:g} on (CANDIDATES_POSITIVE_RATING)"
            )
        unknown = len({event.item_id for event in snapshot.events} - snapshot.items.keys())
        if unknown:
            log.warning("items with events are not in the catalogue: not recommended until they are", items=unknown)

    async def _embed(self, table: ItemTable, likes: Sequence[Likes], encoder: str) -> tuple[ItemTexts, str]:
        given = [table.item(row) for row in range(len(table))]
        items = [item or Item(item_id) for item, item_id in zip(given, table.ids, strict=True)]
        titles = titles_needed(items, (one.per_item for one in likes), self.parameters.text)

        def on_done(done: int, total: int) -> None:
            self.progress.update("embed", done, total)

        return await embed_items(given, titles, self.embedder, on_done, encoder)

    def _on_reviews(self, done: int, total: int) -> None:
        self.progress.update("embed reviews", done, total)

    def _publish(
        self,
        one: PlannedVersion,
        folder: Path,
        snapshot: LogSnapshot,
        embedding: str,
        table: ItemTable,
        indexes: Sequence[Mapping[str, Any]],
    ) -> Manifest:
        engine = "in process" if self.als_engine is None else self.als_engine.name
        return self.store.publish(
            KIND,
            folder,
            config={
                **asdict(self.parameters),
                "rules": asdict(self.rules),
                "sources": list(self.sources),
                "als_engine": engine,
            },
            data={
                "sequence": snapshot.sequence,
                "cursor": snapshot.cursor,
                "events": one.count,
                "items": table.alive_count,
                "indexes": list(indexes),
                "split": {**one.labels, **one.split},
            },
            lineage={"embedding": embedding},
            labels=one.labels,
            make_current=one.is_serving,
        )

    def _prune(self, one: PlannedVersion) -> None:
        same = [name for name in self.store.versions(KIND) if self._labels(name) == one.labels]
        stays = spared(self.store, KIND)
        for name in (one for one in same[self.keep_versions :] if one not in stays):
            try:
                self.store.delete(KIND, name)
            except NotFound:
                log.info("an older version stays: it is in use", version=name)

    def _labels(self, name: str) -> dict[str, str] | None:
        try:
            return self.store.manifest(KIND, name).labels
        except (NotFound, CorruptData):
            return None


def _table(snapshot: LogSnapshot, item_ids: Iterable[str]) -> ItemTable:
    """Returns the catalogue, and a row for each item that has events and no entry."""
    table = ItemTable()
    for item in snapshot.items.values():
        table.put(item)
    for item_id in sorted(item_ids):
        table.row_of(item_id)
    return table
