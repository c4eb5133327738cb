"""The composition root of the ranker: the only file that names concrete adapters."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog
from fusionrec.ranker.v1 import ranker_service_pb2, ranker_service_pb2_grpc

from services.ranker.adapters.grpc_candidates import GrpcCandidates
from services.ranker.adapters.grpc_embedding import GrpcEmbedding
from services.ranker.adapters.grpc_evaluator import GrpcEvaluator
from services.ranker.adapters.grpc_ingestion import GrpcIngestion
from services.ranker.adapters.impression_log import ImpressionLog
from services.ranker.adapters.llama_model import LlamaModel, find_model
from services.ranker.adapters.rule_file import RuleFile
from services.ranker.explain.reasons import Reasons
from services.ranker.explain.writer import SentenceWriter
from services.ranker.explore.outcomes import Outcomes
from services.ranker.guarded import GuardedAssigner, GuardedCandidates, GuardedEncoder, GuardedHistory
from services.ranker.items.follower import Follower, LogWatcher
from services.ranker.items.live import LiveItems
from services.ranker.kept import KeptAnswers
from services.ranker.models.model import KIND
from services.ranker.models.shelf import ModelShelf
from services.ranker.pipeline.assign.assign import Assign
from services.ranker.pipeline.breaker import Breaker
from services.ranker.pipeline.call import SERVICE
from services.ranker.pipeline.hydrate.hydrate import Hydrate
from services.ranker.pipeline.hydrate.known import KnownHistories
from services.ranker.pipeline.record.record import ImpressionRecorder
from services.ranker.pipeline.select.rule_book import RuleBook
from services.ranker.pipeline.select.selector import Selector
from services.ranker.pipeline.sources.sources import Sources
from services.ranker.pipeline.timeouts import Timeouts
from services.ranker.recommender import Recommender
from services.ranker.results import Results
from services.ranker.servicer import RankerServicer
from shared.artifacts import ArtifactStore, ArtifactWatcher
from shared.background import supervised
from shared.data.nouns import EventType
from shared.errors import CorruptData, FusionrecError
from shared.rpc.client import open_channel
from shared.rpc.context import seconds_left
from shared.rpc.feed import LogFeed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import grpc.aio

    from services.ranker.settings import RankerSettings
    from shared.artifacts import Loaded
    from shared.rpc.server import Lifecycle

log = structlog.get_logger(__name__)

FLUSH_S = 3.0
"""Longest wait for ingestion when the server ends, seconds."""


class RankerApp:
    """The ranker as a `ServiceApp`."""

    service_names: tuple[str, ...] = (ranker_service_pb2.DESCRIPTOR.services_by_name["RankerService"].full_name,)

    def __init__(self, settings: RankerSettings) -> None:
        self._settings = settings
        self._neighbours = Neighbours.connect(settings, impressions=settings.exploration_learns)
        store = ArtifactStore(settings.artifacts)
        self._known = KnownHistories(settings.known_histories)
        self._recorder = ImpressionRecorder(self._neighbours.ingestion, capacity=settings.impression_queue)
        self._live = LiveItems(
            settings.preferences,
            max_items=settings.max_items,
            max_keys=settings.popularity_events,
            on_forgotten=self._forget,
        )
        self._shelf = ModelShelf(
            store,
            settings.preferences,
            capacity=settings.loaded_versions,
            default_variant=settings.default_variant,
        )
        self._watcher = ArtifactWatcher(
            store,
            KIND,
            service=SERVICE,
            on_loaded=self._use,
            on_failed=self._cannot_use,
            poll_s=settings.artifacts_poll_s,
        )
        self._book = RuleBook(rules_of(settings) if settings.rules else None)
        self._kept = KeptAnswers(self._live, max_age_s=settings.reply_cache_s, max_results=settings.reply_cache_results)
        self._outcomes = outcomes_of(settings)
        self._timeouts = timeouts_of(settings)
        self._assign = Assign(
            GuardedAssigner(self._neighbours.evaluator, breaker_of(settings, "evaluator", self._timeouts.evaluator_s)),
            experiment=settings.experiment,
            timeout=self._timeouts.evaluator,
            max_age_s=settings.assignment_age_s,
            capacity=settings.assigned_users,
        )
        watchers: list[LogWatcher] = [self._kept, self._known, self._assign]
        if self._outcomes is not None:
            watchers.append(self._outcomes)
        self._follower = Follower(self._live, self._neighbours.feed, self._neighbours.embedding, watchers)
        self.recommender = self._compose()
        self._lifecycle: Lifecycle | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicer."""
        servicer = RankerServicer(self.recommender, self._neighbours.embedding)
        ranker_service_pb2_grpc.add_RankerServiceServicer_to_server(servicer, server)

    async def start(self, lifecycle: Lifecycle) -> None:
        """Reads the log and loads the model, then says SERVING; without a model, why not."""
        self._lifecycle = lifecycle
        self._begin(self._follower.follow, "log follower")
        self._begin(self._follower.embed, "item vectors")
        self._begin(self._recorder.run, "impressions")
        if self._settings.rules:
            self._begin(lambda: self._book.watch(self._settings.rules_poll_s), "rules file")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.warm_timeout_s):
                await self._follower.caught_up.wait()
        await self._watcher.check()
        self._begin(self._watcher.run, "artifact watcher")

    async def stop(self) -> None:
        """Ends the loops, writes the impressions that wait, closes the channels."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._recorder.close(FLUSH_S)
        if self._writer is not None:
            self._writer.close()
        self.recommender.computing.close()
        await self._neighbours.close()

    def _begin(self, work: Callable[[], Awaitable[None]], name: str) -> None:
        self._tasks.append(asyncio.create_task(supervised(work, name)))

    def _forget(self, user_id: str) -> None:
        self._known.forget(user_id)
        self._recorder.forget(user_id)

    async def _use(self, loaded: Loaded) -> None:
        model = await self._shelf.read(loaded)
        await self._live.adopt(model.table)
        # No other call runs between these two: the model and the vectors change together.
        self._shelf.use(model)
        self._follower.begin_embedding()
        if self._lifecycle is not None:
            await self._lifecycle.ready()

    async def _cannot_use(self, reason: str) -> None:
        self._shelf.status_reason = reason
        if self._shelf.current is not None:
            log.warning("staying on the last good model", version=self._shelf.current.version, reason=reason)
        elif self._lifecycle is not None:
            await self._lifecycle.not_ready(reason)

    def _compose(self) -> Recommender:
        settings, near, timeouts = self._settings, self._neighbours, self._timeouts
        finder = GuardedCandidates(near.candidates, breaker_of(settings, "candidates", timeouts.candidates_s))
        hydrate = Hydrate(
            GuardedHistory(near.ingestion, breaker_of(settings, "ingestion", timeouts.history_s)),
            GuardedEncoder(near.embedding, breaker_of(settings, "embedding", timeouts.embedding_s)),
            self._live,
            self._known,
            timeouts,
            preferences=settings.preferences,
            history_limit=settings.history_limit,
            profile_texts=settings.profile_texts,
        )
        self._writer = writer_of(settings)
        selector = Selector(settings, self._live, self._book, self._outcomes)
        return Recommender(
            settings=settings,
            shelf=self._shelf,
            live=self._live,
            assign=self._assign,
            hydrate=hydrate,
            sources=Sources(finder, timeouts),
            results=Results(self._live, Reasons(finder, timeouts), selector, self._writer),
            recorder=self._recorder,
            selector=selector,
            kept=self._kept,
        )


@dataclass(frozen=True)
class Neighbours:
    """The neighbours, over channels of their own; must be made inside the running loop."""

    ingestion: GrpcIngestion
    embedding: GrpcEmbedding
    candidates: GrpcCandidates
    evaluator: GrpcEvaluator
    feed: LogFeed
    impressions: ImpressionLog
    channels: tuple[grpc.aio.Channel, ...]

    @classmethod
    def connect(cls, settings: RankerSettings, *, impressions: bool = False) -> Neighbours:
        """Opens the channels; the feed leaves impressions out unless they are asked for."""
        ingestion = open_channel(settings.ingestion_address)
        embedding = open_channel(settings.embedding_address)
        candidates = open_channel(settings.candidates_address)
        # Connects when it is first called: only where an experiment is named.
        evaluator = open_channel(settings.evaluator_address)
        return cls(
            GrpcIngestion(ingestion),
            GrpcEmbedding(embedding),
            GrpcCandidates(candidates),
            GrpcEvaluator(evaluator),
            LogFeed(ingestion, exclude_types=[] if impressions else [EventType.IMPRESSION]),
            ImpressionLog(ingestion),
            (ingestion, embedding, candidates, evaluator),
        )

    async def close(self) -> None:
        """Closes the channels."""
        for channel in self.channels:
            await channel.close()


def check_files(settings: RankerSettings) -> None:
    """Looks at the files that settings name, to say at the start what is wrong with them.

    Raises:
        FusionrecError: the rules file cannot be used (the message names the line), or there is no sentence model.

    """
    if settings.rules:
        try:
            rules_of(settings).read()
        except FusionrecError as error:
            raise CorruptData(f"RANKER_RULES = '{settings.rules}': {error.message}") from error
    if settings.sentence_model:
        find_model(settings.sentence_model)


def timeouts_of(settings: RankerSettings) -> Timeouts:
    """Returns how long calls wait for each neighbour."""
    return Timeouts(
        settings.history_timeout_s,
        settings.embedding_timeout_s,
        settings.candidates_timeout_s,
        settings.assignment_timeout_s,
        settings.deadline_share,
        seconds_left,
    )


def breaker_of(settings: RankerSettings, neighbour: str, wait_s: float) -> Breaker:
    """Returns the breaker in front of a neighbour that calls wait `wait_s` seconds for."""
    patience_s = min(wait_s, settings.breaker_patience_s)
    return Breaker(neighbour, patience_s, failures=settings.breaker_failures, open_s=settings.breaker_open_s)


def rules_of(settings: RankerSettings) -> RuleFile:
    """Returns the rules file that the settings name."""
    return RuleFile(settings.rules, learns=settings.exploration_learns)


def writer_of(settings: RankerSettings) -> SentenceWriter | None:
    """Returns the writer of sentences, its model loaded; None where templates do.

    Raises:
        FusionrecError: there is no such model.

    """
    if not settings.sentence_model:
        return None
    model = LlamaModel(find_model(settings.sentence_model), threads=settings.sentence_threads)
    return SentenceWriter(model, within_s=settings.sentence_s)


def outcomes_of(settings: RankerSettings) -> Outcomes | None:
    """Returns what exploration learns in; None where it does not."""
    if not settings.exploration_learns:
        return None
    return Outcomes(
        settings.preferences, open_impressions=settings.exploration_impressions, max_items=settings.max_items
    )
