"""The job over the evaluator's own ports: what is asked, what is measured, what is refused."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from services.evaluator.ports import Answer, LogSnapshot, Version
from services.evaluator.protocols.job import EvaluationJob
from services.evaluator.protocols.measure import measure
from services.evaluator.protocols.models import RandomFloor
from services.evaluator.protocols.plan import Plan, make_query
from shared.data import splits
from shared.data.nouns import Event, EventType
from shared.data.preferences import PreferenceRules
from shared.data.splits import Protocol
from shared.errors import DependencyUnavailable, ModelMismatch, ModelNotReady, NotFound

START = datetime(2020, 1, 1, tzinfo=UTC)
USERS, ITEMS = 20, 40
CATALOGUE = tuple(f"i{n:02}" for n in range(ITEMS))


def rate(user, item, second, value=5.0):
    return Event("", user, item, EventType.RATING, START + timedelta(seconds=second), value)


EVENTS = [rate(f"u{u}", CATALOGUE[(7 * u + 3 * step) % ITEMS], step) for u in range(USERS) for step in range(20)]
SNAPSHOT = LogSnapshot(EVENTS, frozenset(CATALOGUE), len(EVENTS))
OWN = splits.by_user(EVENTS)


def of_whom(question):
    """The user a history belongs to: every user of EVENTS begins with another item."""
    first = question.history[0].item_id
    return next(own for own in OWN.values() if any(event.item_id == first for event in own[:1]))


def the_truth(question):
    seen = {event.item_id for event in question.history}
    liked = [event.item_id for event in of_whom(question) if event.item_id not in seen]
    return list(dict.fromkeys([*liked, *CATALOGUE]))


def version(name, protocol="warm", stage="test", sequence=USERS * 20, **lineage):
    return Version(name, {"protocol": protocol, "stage": stage}, lineage, sequence)


def ready_path(in_memory_path, protocol="warm", **changes):
    given = {
        "catalogue": CATALOGUE,
        "order": {"fusion": the_truth, "fusionlinear": CATALOGUE, "als": CATALOGUE[::-1], "popular": CATALOGUE},
        "scores": {"als": {item: float(n) for n, item in enumerate(CATALOGUE)}},
        "versions": (
            version("r-new", protocol, candidates="c1"),
            version("r-old", protocol, candidates="c0"),
            version("r-serving", protocol, "serving", candidates="c9"),
        ),
        "partner_versions": (version("c1", protocol), version("c0", protocol)),
    }
    return in_memory_path(**(given | changes))


@pytest.fixture
def job_of(progress, in_memory):
    def build(path, snapshot=SNAPSHOT, ks=(10, 20)):
        return EvaluationJob(
            ranker=in_memory.ranker(path),
            candidates=in_memory.candidates(path),
            log=in_memory.log(snapshot),
            progress=progress,
            rules=PreferenceRules(),
            ks=ks,
            concurrency=3,
            seed=0,
        )

    return build


async def test_warm_gives_every_model_its_row(in_memory, job_of, progress):
    path = ready_path(in_memory.path)
    report = (await job_of(path).run(Protocol.WARM)).as_json()
    assert set(report["models"]) == {"fusion", "fusion:linear", "als", "popular", "random"}
    assert report["models"]["fusion"]["ndcg@10"] == pytest.approx(1.0)
    assert report["models"]["fusion"]["recall@20"] == pytest.approx(1.0)
    assert next(iter(report["models"])) == "fusion"
    assert all(model["ndcg@10"] < 1.0 for name, model in report["models"].items() if name != "fusion")
    assert (report["protocol"], report["k"], report["users"]) == ("warm", 10, USERS)
    assert report["versions"] == {"ranker": "r-new", "candidates": "c1", "embedding": "e1"}
    assert report["variants"] == {"fusion": "gbdt"}
    for name in ("precision@10", "f1@10", "mrr@10", "hit_rate@10", "coverage@10", "map@10", "ndcg@20"):
        assert 0.0 <= report["models"]["als"][name] <= 1.0
    assert "ceil(0.8 n)" in report["protocol_text"]
    assert "20 users" in report["protocol_text"]
    assert progress.said[-1] == ("measure random", USERS, USERS)


async def test_pinned_versions_and_depth_are_asked_for_and_the_log_is_read_up_to_the_models_data(in_memory, job_of):
    path = ready_path(in_memory.path)
    job = job_of(path)
    await job.run(Protocol.WARM)
    assert {(one[2], one[3], one[4]) for one in path.asked if one[0] == "recommend"} == {
        ("r-new", "", 20),
        ("r-new", "linear", 20),
    }
    assert {(one[2], one[3], one[4]) for one in path.asked if one[0] == "retrieve"} == {
        ("c1", "als", 20),
        ("c1", "popular", 20),
    }
    assert job.log.asked == [len(EVENTS)]
    assert len(path.asked) == 4 * USERS


async def test_of_the_fusions_only_the_default_one_is_measured_when_asked(in_memory, job_of):
    report = (await job_of(ready_path(in_memory.path)).run(Protocol.WARM, all_variants=False)).as_json()
    assert set(report["models"]) == {"fusion", "als", "popular", "random"}


async def test_new_items_ranks_the_hidden_items_among_themselves(in_memory, job_of):
    path = ready_path(in_memory.path, "new-items")
    path.order["fusion"] = CATALOGUE[::2] + CATALOGUE[1::2]
    report = (await job_of(path).run(Protocol.NEW_ITEMS)).as_json()
    hidden = splits.hidden_items(EVENTS)
    assert {frozenset(one[4]) for one in path.asked if one[0] in ("rank", "score")} == {hidden}
    assert {one[0] for one in path.asked} == {"rank", "score"}
    assert report["data"]["hidden_items"] == len(hidden) == 8
    assert set(report["models"]) == {"fusion", "fusion:linear", "als", "popular", "random"}
    # All 8 places are ranked: nothing can be missed, and coverage is complete.
    assert all(model["recall@10"] == model["coverage@10"] == 1.0 for model in report["models"].values())
    assert report["warnings"] == ["popular: 8 items of an answer had no score, on average"]


async def test_new_users_gives_figures_by_history_and_their_mean(in_memory, job_of):
    path = ready_path(in_memory.path, "new-users")
    report = (await job_of(path).run(Protocol.NEW_USERS)).as_json()
    assert report["users"] == USERS // 5
    for model in report["models"].values():
        assert list(model["by_history"]) == ["1", "3", "5", "10"]
        parts = [own["ndcg@10"] for own in model["by_history"].values()]
        assert model["ndcg@10"] == pytest.approx(sum(parts) / 4)
    assert report["models"]["fusion"]["by_history"]["3"]["ndcg@10"] == pytest.approx(1.0)


async def test_degraded_and_short_answers_are_counted_and_named(in_memory, job_of):
    path = ready_path(in_memory.path, degraded=("embedding",))
    path.order["popular"] = CATALOGUE[:5]
    report = await job_of(path).run(Protocol.WARM)
    assert report.models["fusion"].degraded == {"embedding": USERS}
    assert report.models["popular"].short == USERS
    assert f"fusion: {USERS} of {USERS} answers were given without embedding" in report.warnings


async def test_items_that_no_answer_may_hold_gain_nothing_and_are_named(in_memory, job_of):
    path = ready_path(in_memory.path)
    honest = await job_of(path).run(Protocol.WARM)

    async def faulty(question, *, k, **_pinned):
        seen = {event.item_id for event in question.history}
        items = [item for item in the_truth(question) if item not in seen][:k]
        return Answer((items[0], items[0], question.history[0].item_id, "unheard of", *items[1:]))

    path.recommend = faulty
    report = await job_of(path).run(Protocol.WARM)
    assert report.models["fusion"].metrics == honest.models["fusion"].metrics
    assert report.models["fusion"].invalid == 3 * USERS
    assert any("struck out" in warning for warning in report.warnings)


async def test_an_untrained_protocol_says_which_command_trains_it(in_memory, job_of):
    path = ready_path(in_memory.path, "warm")
    with pytest.raises(ModelNotReady, match="fusionrec train --protocol new-users"):
        await job_of(path).run(Protocol.NEW_USERS)


async def test_a_ranker_whose_candidates_are_gone_says_which_command_trains_them(in_memory, job_of):
    path = ready_path(in_memory.path, partner_versions=())
    with pytest.raises(ModelNotReady, match=r"candidates version c1.*fusionrec train --protocol warm"):
        await job_of(path).run(Protocol.WARM)


@pytest.mark.parametrize(
    "partner", [version("c1", stage="serving"), version("c1", "new-items"), version("c1", sequence=1)]
)
async def test_versions_that_would_leak_or_disagree_are_refused(in_memory, job_of, partner):
    path = ready_path(in_memory.path, partner_versions=(partner,))
    with pytest.raises(ModelMismatch):
        await job_of(path).run(Protocol.WARM)
    assert path.asked == []


async def test_a_log_without_anything_to_foretell_is_refused(in_memory, job_of):
    path = ready_path(in_memory.path)
    with pytest.raises(NotFound, match="import more events"):
        await job_of(path, LogSnapshot([rate("u", "i01", 1)], frozenset({"i01"}), 400)).run(Protocol.WARM)


async def test_a_failing_server_ends_the_measurement_with_its_own_error():
    class Failing:
        name = "failing"
        asked = 0

        async def answer(self, _query):
            self.asked += 1
            await asyncio.sleep(0)
            if self.asked > 5:
                raise DependencyUnavailable("ranker", "not reachable")
            return Answer(())

    model = Failing()
    with pytest.raises(DependencyUnavailable):
        await measure(model, a_plan(50), ks=(10,), concurrency=4, on_done=lambda _done: None)
    assert model.asked < 50


async def test_no_more_calls_are_in_flight_than_allowed_and_answers_keep_their_queries():
    class Watched:
        name = "watched"
        running = most = 0

        async def answer(self, query):
            self.running += 1
            self.most = max(self.most, self.running)
            # Later queries answer first.
            for _ in range(50 - int(query.user_id)):
                await asyncio.sleep(0)
            self.running -= 1
            return Answer((f"i{query.user_id}",))

    model = Watched()
    done = []
    measured = await measure(model, a_plan(50), ks=(10,), concurrency=4, on_done=done.append)
    assert model.most == 4
    assert measured.metrics["hit_rate@10"] == 1.0
    assert done == list(range(1, 51))


async def test_the_random_floor_depends_on_seed_and_user_only_and_hides_what_was_seen():
    plan = a_plan(30)
    floor = RandomFloor(0, 20, plan.catalogue)
    first = [await floor.answer(query) for query in plan.queries]
    again = [await floor.answer(query) for query in reversed(plan.queries)]
    assert first == again[::-1]
    assert len({answer.items for answer in first}) > 1
    assert all("seen" not in answer.items and len(set(answer.items)) == 20 for answer in first)
    other = RandomFloor(1, 20, plan.catalogue)
    assert [await other.answer(query) for query in plan.queries] != first


def a_plan(count):
    queries = tuple(make_query(str(n), [rate(str(n), "seen", n)], frozenset({f"i{n}"})) for n in range(count))
    catalogue = tuple(sorted({"seen", *(f"i{n}" for n in range(count))}))
    return Plan(Protocol.WARM, queries, catalogue, None, "", {})
