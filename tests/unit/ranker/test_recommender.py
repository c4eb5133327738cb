"""The pipeline through its ports: what is answered, and what is named when a neighbour is gone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import numpy as np
import pytest

from services.ranker.explain.reasons import Reasons
from services.ranker.features.registry import INDEX, NAMES
from services.ranker.fusion.base import RankingLists
from services.ranker.fusion.linear import LinearFusion
from services.ranker.items.live import LiveItems
from services.ranker.models.model import KIND, save_model
from services.ranker.models.shelf import ModelShelf
from services.ranker.nouns import CandidateTable, ExplainRequest, Question, RankRequest, RecommendRequest
from services.ranker.pipeline.hydrate.hydrate import Hydrate
from services.ranker.pipeline.hydrate.known import KnownHistories
from services.ranker.pipeline.record.record import ImpressionRecorder
from services.ranker.pipeline.sources.sources import Sources
from services.ranker.pipeline.timeouts import Timeouts
from services.ranker.ports import Embedded
from services.ranker.recommender import Recommender
from services.ranker.settings import RankerSettings
from shared.artifacts import ArtifactStore
from shared.data.nouns import Item, ItemFilter, LogRecord, SeenPolicy, Temperature
from shared.errors import DependencyUnavailable, ModelNotReady, NotFound

from .conftest import RULES, START, rating, seen

WORLD = [f"i{n}" for n in range(30)]


@dataclass
class Neighbours:
    """Ingestion, embedding and candidates as small worlds in memory; each can be down."""

    histories: dict = field(default_factory=dict)
    vectors: dict = field(default_factory=dict)
    down: set = field(default_factory=set)
    failed_sources: dict = field(default_factory=dict)
    embedding_version: str = "e1"
    written: list = field(default_factory=list)
    queries: list = field(default_factory=list)

    def _check(self, component):
        if component in self.down:
            raise DependencyUnavailable(component, "not reachable")

    async def history(self, user_id, limit, as_of, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("ingestion")
        return self.histories.get(user_id, [])[-limit:]

    async def write(self, events, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("ingestion")
        self.written += events
        return len(events)

    async def embed(self, texts, timeout_s, *, bulk=False):  # noqa: ARG002 (the port's signature)
        self._check("embedding")
        rows = np.array([self.vectors[text] for text in texts], dtype=np.float32)
        return Embedded(rows, np.ones(len(rows), dtype=bool), self.embedding_version)

    async def find(self, query, timeout_s):  # noqa: ARG002 (the port's signature)
        self._check("candidates")
        if "candidates-model" in self.down:
            raise ModelNotReady("no candidates model has been trained yet: run `fusionrec train`")
        self.queries.append(query)
        ids = list(query.score_item_ids) or [one for one in WORLD if one not in {e.item_id for e in query.history}]
        ids = ids if query.score_item_ids else ids[: query.k]
        known = [one in WORLD for one in ids]
        scores = np.array(
            [-WORLD.index(one) if ok else np.nan for one, ok in zip(ids, known, strict=True)], dtype=np.float32
        )
        ranks = np.arange(1, len(ids) + 1, dtype=np.int32)
        return CandidateTable(
            ids,
            (1 / (60 + ranks)).astype(np.float32),
            np.zeros(len(ids), dtype=bool),
            {"als": scores, "item_item": -scores, "text": scores},
            {"als": ranks, "item_item": ranks, "text": ranks},
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


@dataclass
class House:
    near: Neighbours
    live: LiveItems
    shelf: ModelShelf
    recommender: Recommender
    recorder: ImpressionRecorder
    store: ArtifactStore

    async def train(self):
        """Publishes a model that likes a high ALS score, and uses it."""
        random = np.random.default_rng(0)
        features = np.zeros((400, len(NAMES)), dtype=np.float32)
        features[:, INDEX["als_place"]] = random.normal(size=400)
        features[:, INDEX["has_cf"]] = 1
        labels = (features[:, INDEX["als_place"]] < -0.8).astype(np.float32)
        lists = RankingLists(features, labels, np.full(20, 20), np.ones(20, dtype=np.float32))
        fusion = LinearFusion()
        fusion.fit(lists, lists, NAMES)
        folder = self.store_folder
        folder.mkdir(exist_ok=True)
        save_model(folder, {"linear": fusion}, "linear", {}, self.live.table)
        manifest = self.store.publish(KIND, folder, lineage={"candidates": "c-pinned"})
        model = await self.shelf.put_current(self.store.load(KIND))
        self.live.adopt(model.table)
        return manifest.version

    async def ask(self, user="u", k=5, **options):
        question = options.pop("question", None) or Question(user)
        base = RecommendRequest(question, k, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN)
        return await self.recommender.recommend(replace(base, **options))


@pytest.fixture
async def house(tmp_path):
    settings = RankerSettings(artifacts=str(tmp_path / "store"))
    near = Neighbours({"u": [seen("i0", 5, 1), seen("i1", 5, 2), seen("i2", 1, 3)]})
    live = LiveItems(RULES)
    texts = {f"T{n}": vector(n) for n in range(30)}
    near.vectors = texts
    live.apply(record(n, Item(f"i{n}", title=f"T{n}")) for n in range(30))
    live.apply(record(100 + n, rating(f"v{n}", f"i{n % 7}", 5, n % 50)) for n in range(60))
    waiting = live.take_waiting(100)
    rows = np.array([texts[live.text(one)] for one in waiting], dtype=np.float32)
    live.put_vectors(waiting, Embedded(rows, np.ones(30, dtype=bool), "e1"))
    store = ArtifactStore(settings.artifacts)
    shelf = ModelShelf(store, RULES, capacity=2)
    timeouts = Timeouts(1.0, 1.0, 1.0, 0.6, lambda: None)
    recorder = ImpressionRecorder(near, capacity=20)
    hydrate = Hydrate(
        near, near, live, KnownHistories(10), timeouts, preferences=RULES, history_limit=1000, profile_texts=20
    )
    recommender = Recommender(
        settings, shelf, live, hydrate, Sources(near, timeouts), Reasons(near, timeouts), recorder
    )
    made = House(near, live, shelf, recommender, recorder, store)
    made.store_folder = tmp_path / "made"
    return made


def named(answer):
    return {one.component: one.fallback for one in answer.degraded}


async def test_a_full_answer(house):
    await house.train()
    answer = await house.ask()
    assert [one.item_id for one in answer.results] == ["i3", "i4", "i5", "i6", "i7"]
    assert [one.position for one in answer.results] == [1, 2, 3, 4, 5]
    assert answer.degraded == ()
    assert answer.temperature is Temperature.WARM
    assert answer.candidates_scored == 27
    assert answer.models["candidates"] == "c1"
    assert answer.index_version == "x1"
    stages = {one.stage for one in answer.stages}
    assert stages == {"hydrate", "sources", "filter", "score", "select", "record"}


async def test_without_a_model_the_order_is_that_of_the_candidates(house):
    answer = await house.ask()
    assert [one.item_id for one in answer.results] == ["i3", "i4", "i5", "i6", "i7"]
    assert named(answer) == {"fusion": "merged_order"}
    assert answer.models["ranker"] == "untrained"


async def test_embedding_down_and_back(house):
    await house.train()
    house.near.down = {"embedding"}
    answer = await house.ask()
    assert named(answer) == {"embedding": "cf_only"}
    assert len(answer.results) == 5
    house.near.down = set()
    assert (await house.ask()).degraded == ()


async def test_candidates_down_answers_from_texts(house):
    await house.train()
    house.near.down = {"candidates"}
    answer = await house.ask(k=3)
    assert named(answer) == {"candidates": "text_only"}
    assert len(answer.results) == 3
    assert {one.item_id for one in answer.results} <= set(WORLD) - {"i0", "i1", "i2"}
    house.near.down = set()
    assert (await house.ask()).degraded == ()


async def test_candidates_without_a_model_counts_as_down(house):
    house.near.down = {"candidates-model"}
    answer = await house.ask(k=3)
    assert named(answer) == {"fusion": "merged_order", "candidates": "text_only"}
    assert {one.item_id for one in answer.results} <= {"i8", "i16", "i24", "i9", "i17", "i25"}


async def test_both_down_answers_what_is_popular(house):
    await house.train()
    house.near.down = {"candidates", "embedding"}
    answer = await house.ask(k=3)
    assert named(answer) == {"candidates": "popular", "embedding": "popular"}
    assert [one.item_id for one in answer.results] == ["i3", "i4", "i5"]


async def test_a_cold_user_with_candidates_down_gets_what_is_popular(house):
    house.near.down = {"candidates"}
    answer = await house.ask(user="nobody", k=3)
    assert named(answer)["candidates"] == "popular"
    assert answer.temperature is Temperature.COLD
    assert [one.item_id for one in answer.results] == ["i0", "i1", "i2"]


async def test_fallbacks_pass_the_filter(house):
    house.near.down = {"candidates", "embedding"}
    house.live.apply([record(500, Item("i3", title="T3", categories=("X",)))])
    only = ItemFilter(categories_none=frozenset({"X"}), exclude_item_ids=frozenset({"i4"}))
    answer = await house.ask(k=2, item_filter=only)
    assert [one.item_id for one in answer.results] == ["i5", "i6"]


async def test_ingestion_down_uses_the_last_known_history(house):
    await house.train()
    await house.ask()
    house.near.down = {"ingestion"}
    answer = await house.ask()
    assert named(answer) == {"ingestion": "full_fusion"}
    assert answer.temperature is Temperature.WARM
    assert "i0" not in {one.item_id for one in answer.results}
    stranger = await house.ask(user="never-seen")
    assert named(stranger) == {"ingestion": "popular"}


async def test_nothing_left_fails(house):
    house.live.reset()
    house.near.down = {"candidates", "embedding", "ingestion"}
    with pytest.raises(DependencyUnavailable) as caught:
        await house.ask()
    assert caught.value.component == "candidates"


async def test_a_failed_source_is_named(house):
    await house.train()
    house.near.failed_sources = {"als": "index is loading"}
    answer = await house.ask()
    assert named(answer) == {"source:als": "full_fusion"}
    assert answer.degraded[0].reason == "index is loading"


async def test_another_encoder_than_the_models_is_named(house):
    await house.train()
    house.near.embedding_version = "e2"
    answer = await house.ask()
    assert named(answer) == {"embedding": "cf_only"}
    assert "e2" in answer.degraded[0].reason


async def test_impressions_carry_the_tokens_of_the_answer(house):
    await house.train()
    answer = await house.ask()
    await house.recorder.flush()
    assert [event.attribution_token for event in house.near.written] == [
        one.attribution_token for one in answer.results
    ]
    assert [event.item_id for event in house.near.written] == [one.item_id for one in answer.results]
    assert [event.position for event in house.near.written] == [1, 2, 3, 4, 5]
    assert all(
        token.startswith(answer.recommendation_id) for token in (e.attribution_token for e in house.near.written)
    )


async def test_no_impressions_when_not_wanted_pinned_or_without_a_user(house):
    version = await house.train()
    skipped = await house.ask(skip_impressions=True)
    pinned = await house.ask(question=Question("u", model_version=version))
    session = await house.ask(question=Question("", history=(seen("i0"),)))
    await house.recorder.flush()
    assert house.near.written == []
    assert all(not one.attribution_token for answer in (skipped, pinned, session) for one in answer.results)


async def test_impressions_past_the_bound_are_dropped(house):
    await house.train()
    for _ in range(6):
        await house.ask()
    await house.recorder.flush()
    assert len(house.near.written) == 20


async def test_a_pinned_version_pins_candidates_and_leaves_live_state_out(house):
    version = await house.train()
    house.live.apply([record(900, rating("x", "i29", 5, 60)) for _ in range(50)])
    await house.ask(question=Question("u", model_version=version))
    assert house.near.queries[-1].model_version == "c-pinned"
    before = [one.item_id for one in (await house.ask(question=Question("u", model_version=version))).results]
    house.near.down = {"candidates", "embedding"}
    pinned = await house.ask(question=Question("u", model_version=version), k=1)
    live = await house.ask(k=1)
    assert pinned.results[0].item_id == "i3"
    assert live.results[0].item_id == "i29"
    assert before == ["i3", "i4", "i5", "i6", "i7"]


async def test_unknown_versions_and_variants_are_refused(house):
    await house.train()
    with pytest.raises(NotFound):
        await house.ask(question=Question("u", model_version="never"))
    with pytest.raises(NotFound, match="linear"):
        await house.ask(question=Question("u", variant="deep"))


async def test_an_empty_answer_says_why(house):
    await house.train()
    answer = await house.ask(item_filter=ItemFilter(categories_any=frozenset({"none"})))
    assert answer.results == ()
    assert answer.empty_reason == "the filter leaves nothing of 27 candidates"


async def test_batch_equals_single(house):
    await house.train()
    requests = [
        RecommendRequest(Question(user), 7, ItemFilter(), SeenPolicy.HIDE_ALL_SEEN, explain=True)
        for user in ("u", "v1", "nobody")
    ]
    together = await house.recommender.batch(requests)
    for request, answer in zip(requests, together, strict=True):
        single = await house.recommender.recommend(request)
        # As text: a missing feature is NaN, which is unlike itself.
        stripped = [[repr(replace(r, attribution_token="")) for r in one.results] for one in (single, answer)]
        assert stripped[0] == stripped[1]


async def test_rank_puts_unknown_items_last_in_the_order_of_the_request(house):
    await house.train()
    answer = await house.recommender.rank(RankRequest(Question("u"), ("zz", "i9", "yy", "i4")))
    assert [one.item_id for one in answer.results] == ["i4", "i9", "zz", "yy"]
    assert answer.unknown_item_ids == ("zz", "yy")
    best = await house.recommender.rank(RankRequest(Question("u"), ("i9", "i4"), k=1))
    assert [one.item_id for one in best.results] == ["i4"]


async def test_rank_answers_without_candidates(house):
    await house.train()
    house.near.down = {"candidates"}
    answer = await house.recommender.rank(RankRequest(Question("u"), ("i9", "i4", "i8")))
    assert len(answer.results) == 3
    assert named(answer) == {"candidates": "text_only"}


async def test_explanations_add_up_and_are_those_of_recommend(house):
    await house.train()
    shown = await house.ask(explain=True, k=4)
    asked = [one.item_id for one in shown.results][::-1]
    answer = await house.recommender.explain(ExplainRequest(Question("u"), (*asked, "i0", "nothing")))
    assert [one.item_id for one in answer.results] == [*asked, "i0"]
    assert answer.unknown_item_ids == ("nothing",)
    for one in (*shown.results, *answer.results):
        total = one.explanation.bias + sum(part.contribution for part in one.explanation.features)
        assert total == pytest.approx(one.score, rel=1e-4, abs=1e-5)
        assert sum(one.explanation.groups.values()) == pytest.approx(total - one.explanation.bias, abs=1e-5)
        assert one.cf_contribution == pytest.approx(one.explanation.groups["cf"], abs=1e-5)
        assert sum(share.share for share in one.sources) == pytest.approx(1)
        assert one.explanation.sentence
        assert {reason.item_id for reason in one.explanation.history} <= {"i0", "i1"}


async def test_a_fitting_new_item_gets_a_place(house):
    await house.train()
    WORLD.insert(0, "new")
    try:
        house.live.apply([record(1000, Item("new", title="T1"))])
        house.recommender.shelf.current.fusions["linear"]._weights *= -1
        answer = await house.ask(k=5)
        none = await house.ask(k=5, new_item_slots=0)
    finally:
        WORLD.remove("new")
    assert answer.results[-1].item_id == "new"
    assert answer.results[-1].is_new
    assert "new" not in {one.item_id for one in none.results}


async def test_explore_moves_items_and_tells_the_propensity(house):
    await house.train()
    answers = [await house.ask(k=3, explore=True, skip_impressions=True) for _ in range(10)]
    assert all(0 < one.propensity <= 1 for answer in answers for one in answer.results)
    assert len({tuple(one.item_id for one in answer.results) for answer in answers}) > 1


async def test_candidates_and_texts_are_asked_side_by_side(house):
    await house.train()
    both = asyncio.Event()
    waiting = set()

    def meet(name, original):
        async def wrapped(*args, **kwargs):
            waiting.add(name)
            if len(waiting) == 2:
                both.set()
            async with asyncio.timeout(5):
                await both.wait()
            return await original(*args, **kwargs)

        return wrapped

    house.near.find = meet("find", house.near.find)
    house.near.embed = meet("embed", house.near.embed)
    assert (await house.ask()).degraded == ()


async def test_as_of_reaches_every_neighbour(house):
    await house.train()
    at = START + timedelta(days=3)
    await house.ask(question=Question("u", as_of=at))
    assert house.near.queries[-1].as_of == at
