"""A recommender over small neighbours in memory, to be asked through its ports."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from services.ranker.explain.reasons import Reasons
from services.ranker.explore.outcomes import Outcomes
from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import RankingLists
from services.ranker.fusion.linear import LinearFusion
from services.ranker.fusion.registry import FUSIONS
from services.ranker.items.live import LiveItems
from services.ranker.kept import KeptAnswers
from services.ranker.models.model import KIND, ModelNotes, save_model
from services.ranker.models.shelf import ModelShelf
from services.ranker.nouns import CandidateTable, Question, RecommendRequest
from services.ranker.pipeline.assign.assign import Assign
from services.ranker.pipeline.hydrate.hydrate import Hydrate
from services.ranker.pipeline.hydrate.known import KnownHistories
from services.ranker.pipeline.record.record import ImpressionRecorder
from services.ranker.pipeline.select.rule_book import RuleBook
from services.ranker.pipeline.select.selector import Selector
from services.ranker.pipeline.sources.sources import Sources
from services.ranker.pipeline.timeouts import Timeouts
from services.ranker.ports import Embedded, StoredHistory
from services.ranker.recommender import Recommender
from services.ranker.results import Results
from services.ranker.settings import RankerSettings
from shared.artifacts import ArtifactStore
from shared.data.nouns import Item, ItemFilter, LogRecord, SeenPolicy
from shared.errors import DependencyUnavailable, ModelNotReady, NotFound

from .samples import RULES, START, rating, seen

WORLD = [f"i{n}" for n in range(30)]


@dataclass
class Neighbours:
    """Ingestion, embedding and candidates as small worlds in memory; each can be down."""

    histories: dict = field(default_factory=dict)
    vectors: dict = field(default_factory=dict)
    down: set = field(default_factory=set)
    failed_sources: dict = field(default_factory=dict)
    embedding_version: str = "e1"
    pinned: list = field(default_factory=list)
    written: list = field(default_factory=list)
    queries: list = field(default_factory=list)
    odd: dict = field(default_factory=dict)
    refusal: Exception | None = None
    variants: dict = field(default_factory=dict)
    assigned: list = field(default_factory=list)
    ended: bool = False

    def _check(self, component):
        if component in self.down:
            raise DependencyUnavailable(component, "not reachable")

    async def history(self, user_id, limit, as_of, timeout_s, known=None):  # noqa: ARG002 (the port's signature)
        self._check("ingestion")
        events = tuple(self.histories.get(user_id, [])[-limit:])
        return known if known is not None and known.events == events else StoredHistory(events)

    async def write(self, events, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("ingestion")
        self.written += events
        return len(events)

    async def assign(self, experiment, user_id, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("evaluator")
        if self.ended:
            raise NotFound(f"no experiment {experiment!r}")
        self.assigned.append(user_id)
        return self.variants.get(user_id, "")

    async def embed(self, texts, timeout_s, *, bulk=False, version=""):  # noqa: ARG002 (the port's signature)
        self._check("embedding")
        self.pinned.append(version)
        rows = np.array([self.vectors[text.partition(".")[0]] for text in texts], dtype=np.float32)
        return Embedded(rows, np.ones(len(rows), dtype=bool), self.embedding_version)

    async def current_version(self, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("embedding")
        return self.embedding_version

    async def find(self, query, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("candidates")
        if "candidates-model" in self.down:
            raise ModelNotReady("no candidates model has been trained yet: run `fusionrec train`")
        if self.refusal is not None:
            raise self.refusal
        self.queries.append(query)
        ids = list(query.score_item_ids) or [one for one in WORLD if one not in {e.item_id for e in query.history}]
        ids = ids if query.score_item_ids else ids[: query.k]
        known = [one in WORLD for one in ids]
        scores = np.array(
            [self.odd.get(one, -WORLD.index(one)) if ok else np.nan for one, ok in zip(ids, known, strict=True)],
            dtype=np.float32,
        )
        ranks = np.arange(1, len(ids) + 1, dtype=np.int32)
        return CandidateTable(
            ids,
            (1 / (60 + ranks)).astype(np.float32),
            np.zeros(len(ids), dtype=bool),
            {"als": scores, "item_item": -scores, "aligned_text": scores},
            {"als": ranks, "item_item": ranks, "aligned_text": ranks},
            dict(self.failed_sources),
            "c1",
            "x1",
        )

    async def find_many(self, queries, timeout_s):
        return [await self.find(query, timeout_s) for query in queries]


def vector(number: int) -> np.ndarray:
    made = np.zeros(8, dtype=np.float32)
    made[number % 8], made[(number + 1) % 8] = 1, 0.2
    return made / np.linalg.norm(made)


def record(sequence, body):
    return LogRecord(sequence, START, body)


@cache
def made_lists() -> RankingLists:
    """Returns lists in which a high ALS score was liked."""
    random = np.random.default_rng(0)
    features = np.zeros((400, len(NAMES)), dtype=np.float32)
    features[:, INDEX["als_place"]] = random.normal(size=400)
    features[:, INDEX["has_cf"]] = 1
    labels = (features[:, INDEX["als_place"]] < -0.8).astype(np.float32)
    return RankingLists(features, labels, np.full(20, 20), np.ones(20, dtype=np.float32))


@cache
def fitted() -> LinearFusion:
    """Returns a fusion that likes a high ALS score."""
    fusion = LinearFusion()
    fusion.fit(made_lists(), made_lists(), NAMES)
    return fusion


@dataclass
class House:
    near: Neighbours
    live: LiveItems
    shelf: ModelShelf
    recommender: Recommender
    recorder: ImpressionRecorder
    store: ArtifactStore

    async def train(self, *others):
        """Publishes a model that likes a high ALS score, with `others` as further variants, and uses it."""
        folder = self.store_folder
        folder.mkdir(exist_ok=True)
        fusions = {"linear": fitted(), **{name: FUSIONS[name]() for name in others}}
        for name in others:
            fusions[name].refit(made_lists(), NAMES)
        save_model(folder, fusions, ModelNotes("linear"), self.live.table)
        manifest = self.store.publish(KIND, folder, lineage={"candidates": "c-pinned"})
        model = await self.shelf.read(self.store.load(KIND))
        await self.live.adopt(model.table)
        self.shelf.use(model)
        return manifest.version

    async def ask(self, user="u", k=5, **options):
        question = options.pop("question", None) or Question(user)
        base = RecommendRequest(question, k, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN)
        return await self.recommender.recommend(replace(base, **options))


def named(answer):
    return {one.component: one.fallback for one in answer.degraded}


def built(tmp_path, rules=None, keep_s=0.0, clock=time.monotonic, experiment="", draw=lambda: 1.0) -> House:
    """Returns a recommender over 30 items, one user with three ratings, nothing trained."""
    settings = RankerSettings(artifacts=str(tmp_path / "store"))
    near = Neighbours({"u": [seen("i0", 5, 1), seen("i1", 5, 2), seen("i2", 1, 3)]})
    live = LiveItems(RULES, clock=clock)
    texts = {f"T{n}": vector(n) for n in range(30)}
    near.vectors = texts
    live.apply(record(n, Item(f"i{n}", title=f"T{n}")) for n in range(30))
    live.apply(record(100 + n, rating(f"v{n}", f"i{n % 7}", 5, n % 50)) for n in range(60))
    waiting = live.take_waiting(100)
    rows = np.array([texts[live.text(one)] for one in waiting], dtype=np.float32)
    live.put_vectors(waiting, Embedded(rows, np.ones(30, dtype=bool), "e1"))
    store = ArtifactStore(settings.artifacts)
    shelf = ModelShelf(store, RULES, capacity=2)
    timeouts = Timeouts(1.0, 1.0, 1.0, 0.1, 0.6, lambda: None)
    recorder = ImpressionRecorder(near, capacity=20)
    hydrate = Hydrate(
        near, near, live, KnownHistories(10), timeouts, preferences=RULES, history_limit=1000, profile_texts=20
    )
    selector = Selector(settings, live, RuleBook(rules), Outcomes(RULES, open_impressions=1000, max_items=1000))
    results = Results(live, Reasons(near, timeouts), selector)
    kept = KeptAnswers(live, max_age_s=keep_s, max_results=1000, clock=clock, draw=draw)
    assign = Assign(near, experiment=experiment, timeout=timeouts.evaluator, max_age_s=60.0, capacity=3, clock=clock)
    recommender = Recommender(
        settings, shelf, live, assign, hydrate, Sources(near, timeouts), results, recorder, selector, kept
    )
    made = House(near, live, shelf, recommender, recorder, store)
    made.store_folder = tmp_path / "made"
    return made
