"""The job: reads the log once, embeds the catalogue once, trains and publishes every version of a protocol."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from services.candidates.catalogue.table import ItemTable
from services.candidates.training.embedding import embed_items, titles_needed
from services.candidates.training.likes import likes_of
from services.candidates.training.plan import plan_versions
from services.candidates.training.trainer import fit_models
from services.candidates.versions.files import save_models
from services.candidates.versions.version import KIND
from shared.data.nouns import Item
from shared.errors import CorruptData, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from services.candidates.ports import TextEmbedder
    from services.candidates.sources.hyperparameters import Hyperparameters
    from services.candidates.sources.text import ItemTexts
    from services.candidates.training.likes import Likes
    from services.candidates.training.plan import PlannedVersion
    from shared.artifacts import ArtifactStore, Manifest
    from shared.data.log import LogSnapshot
    from shared.data.preferences import PreferenceRules
    from shared.data.splits import Protocol, Stage
    from shared.telemetry.progress import JobProgress

log = structlog.get_logger(__name__)


class NothingToLearn(Exception):
    """The log holds nothing to train on; the message says what to do."""


@dataclass(frozen=True)
class TrainingJob:
    """What the job needs; `keep_versions` of each kind stay in the store, older ones are deleted."""

    embedder: TextEmbedder
    store: ArtifactStore
    rules: PreferenceRules
    parameters: Hyperparameters
    keep_versions: int
    progress: JobProgress

    async def run(self, protocol: Protocol, stages: Collection[Stage], snapshot: LogSnapshot) -> list[Manifest]:
        """Trains and publishes; returns the manifests in the order of publishing.

        Raises:
            NothingToLearn: no events, no positives, or no catalogue.
            DependencyUnavailable: the embedding service does not answer.
            ModelMismatch: it changed its model meanwhile.

        """
        self._check(snapshot)
        table = _table(snapshot)
        planned = list(plan_versions(protocol, stages, snapshot.events, self.rules))
        likes = [likes_of(one.events, table.rows, self.rules) for one in planned]
        texts, embedding = await self._embed(table, likes)
        manifests = []
        for done, (one, own) in enumerate(zip(planned, likes, strict=True)):
            self.progress.update("train", done, len(planned))
            models = fit_models(table, texts, own, self.parameters)
            with tempfile.TemporaryDirectory(prefix="candidates-") as folder:
                save_models(models, Path(folder))
                manifests.append(self._publish(one, Path(folder), snapshot, embedding, table))
            self._prune(one)
        self.progress.update("train", len(planned), len(planned))
        return manifests

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

    async def _embed(self, table: ItemTable, likes: Sequence[Likes]) -> tuple[ItemTexts, str]:
        given = [table.item(row) for row in range(len(table))]
        items = [item or Item(item_id) for item, item_id in zip(given, table.ids, strict=True)]
        titles = titles_needed(items, (one.per_item for one in likes), self.parameters.text)
        return await embed_items(
            given, titles, self.embedder, lambda done, total: self.progress.update("embed", done, total)
        )

    def _publish(
        self, one: PlannedVersion, folder: Path, snapshot: LogSnapshot, embedding: str, table: ItemTable
    ) -> Manifest:
        return self.store.publish(
            KIND,
            folder,
            config={**asdict(self.parameters), "rules": asdict(self.rules)},
            data={
                "sequence": snapshot.sequence,
                "cursor": snapshot.cursor,
                "events": len(one.events),
                "items": table.alive_count,
                "split": {**one.labels, **one.split},
            },
            lineage={"embedding": embedding},
            labels=one.labels,
            make_current=one.is_serving,
        )

    def _prune(self, one: PlannedVersion) -> None:
        same = [name for name in self.store.versions(KIND) if self._labels(name) == one.labels]
        for name in same[self.keep_versions :]:
            try:
                self.store.delete(KIND, name)
            except NotFound:
                log.info("an older version stays: it is in use", version=name)

    def _labels(self, name: str) -> dict[str, str] | None:
        try:
            return self.store.manifest(KIND, name).labels
        except (NotFound, CorruptData):
            return None


def _table(snapshot: LogSnapshot) -> ItemTable:
    table = ItemTable()
    for item in snapshot.items.values():
        table.put(item)
    for item_id in _event_items(snapshot):
        table.row_of(item_id)
    return table


def _event_items(snapshot: LogSnapshot) -> Sequence[str]:
    return sorted({event.item_id for event in snapshot.events})
