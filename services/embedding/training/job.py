"""The training job: log and catalogue in, one published version of the encoder out."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from services.embedding.encoders.artifact import ARTIFACT_KIND
from services.embedding.training.corpus import make_corpus
from services.embedding.training.verdict import MIN_USERS
from shared.artifacts.rollback import spared
from shared.data.splits import Protocol, Stage
from shared.errors import CorruptData, NotFound

if TYPE_CHECKING:
    from collections.abc import Callable

    from services.embedding.training.corpus import Corpus
    from services.embedding.training.parameters import FinetuneParameters
    from services.embedding.training.ports import EventLog, Trained, Trainer
    from services.embedding.training.runs import Run
    from shared.artifacts import ArtifactStore, Manifest
    from shared.data.log import LogSnapshot
    from shared.data.preferences import PreferenceRules
    from shared.telemetry.progress import JobProgress

log = structlog.get_logger(__name__)


class NotBetter(Exception):
    """The validation fold does not say that the trained encoder beats its base; the message has the figures."""


@dataclass(frozen=True)
class TrainingJob:
    """What the job needs; see the settings for which versions stay in the store."""

    store: ArtifactStore
    rules: PreferenceRules
    parameters: FinetuneParameters
    run_of: Run
    """What an interrupted training goes on from."""
    keep_versions: int
    """Of each kind of label."""
    keep_days: float
    progress: JobProgress
    always: bool = False
    """Publish what is not better than the base, too."""

    async def read(self, source: EventLog) -> LogSnapshot:
        """Returns what the run learns from: the log up to where the unfinished run read it, or all of it.

        Raises:
            DependencyUnavailable: ingestion does not answer.

        """
        return await source.read(self.run_of.sequence, self._on_records())

    def run(self, snapshot: LogSnapshot, trainer: Trainer, protocol: Protocol, stage: Stage) -> Manifest:
        """Trains and publishes; CURRENT is moved by the protocol warm in the stage serving alone.

        It computes for as long as it takes, in no event loop: an interrupt ends it at once.

        Raises:
            NothingToLearn: no events, no items with text, or too few likes.
            NotBetter: see there; nothing was published.
            ModelUnusable: the base cannot be trained.
            KeyboardInterrupt: nothing was published; the same run goes on from its last checkpoint.

        """
        corpus = make_corpus(snapshot, self.rules, protocol, stage, self.parameters)
        self.run_of.begin(corpus.sequence)
        with tempfile.TemporaryDirectory(prefix="embedding-") as made:
            trained = trainer.train(corpus, Path(made))
            if not trained.better and not self.always:
                self.run_of.end()
                raise NotBetter(_figures(trained))
            labels = {"encoder": trainer.kind, "method": trainer.method, "protocol": protocol.value}
            labels["stage"] = stage.value
            manifest = self._publish(trained, corpus, labels, Path(made))
        try:
            self.run_of.end()
            self._prune(labels)
        except KeyboardInterrupt:
            log.warning("interrupted after publishing: older versions may stay", version=manifest.version)
        return manifest

    def _on_records(self) -> Callable[[int], None]:
        read = 0

        def on_records(records: int) -> None:
            nonlocal read
            read += records
            self.progress.update("read", read, 0)

        return on_records

    def _publish(self, trained: Trained, corpus: Corpus, labels: dict[str, str], folder: Path) -> Manifest:
        self.progress.update("publish", 0, 1)
        manifest = self.store.publish(
            ARTIFACT_KIND,
            folder,
            config=trained.config,
            data={
                "sequence": corpus.sequence,
                "events": corpus.events,
                "items": len(corpus.items),
                "likes": len(corpus.likes.items),
                "validation_items": len(corpus.hidden),
            },
            lineage=trained.lineage,
            labels=labels,
            metrics=trained.metrics,
            make_current=labels["protocol"] == Protocol.WARM and labels["stage"] == Stage.SERVING,
        )
        self.progress.update("publish", 1, 1)
        return manifest

    def _prune(self, labels: dict[str, str]) -> None:
        found = [self._manifest(name) for name in self.store.versions(ARTIFACT_KIND)]
        same = [one for one in found if one is not None and one.labels == labels]
        young = datetime.now(UTC) - timedelta(days=self.keep_days)
        stays = spared(self.store, ARTIFACT_KIND)
        old = [one.version for one in same[self.keep_versions :] if _created(one) < young]
        for name in (one for one in old if one not in stays):
            try:
                self.store.delete(ARTIFACT_KIND, name)
            except NotFound:
                log.info("an older version stays: it is in use", version=name)

    def _manifest(self, name: str) -> Manifest | None:
        try:
            return self.store.manifest(ARTIFACT_KIND, name)
        except (NotFound, CorruptData):
            return None


def _created(manifest: Manifest) -> datetime:
    return datetime.fromisoformat(manifest.created_at)


def _figures(trained: Trained) -> str:
    metrics = trained.metrics
    if not metrics.get("validation_users"):
        return "the trained encoder was not compared with its base, no user can be asked: --always publishes it"
    return (
        f"the trained encoder is not better than its base on {metrics['validation_users']:.0f} users' hidden items "
        f"(NDCG@10 {metrics['validation_ndcg_10']:.4f}, base {metrics['validation_ndcg_10_base']:.4f}, gain at least "
        f"{metrics['validation_gain_lower']:+.4f} with 90 % confidence; above 0 and {MIN_USERS} users are needed): "
        "nothing was published; try a smaller learning rate or a larger distill, or publish it all the same with "
        "--always"
    )
