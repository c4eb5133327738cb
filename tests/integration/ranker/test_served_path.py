"""The ranker among its real neighbours: answers, training, a swap."""

from __future__ import annotations

import json

import grpc
import pytest
from fusionrec.common.v1 import event_pb2, item_pb2, serving_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from .asking import ask, calling, eventually, named


def test_training_without_candidates_says_what_to_do(trained):
    refused = trained.job("ranker", "train", "--protocol", "new-items")
    assert refused.returncode == 2
    assert "services.candidates train --protocol new-items" in refused.stderr


def test_a_full_answer(ranker, ingestion):
    answer = ask(ranker, explain=True, include_titles=True)
    assert named(answer) == {}
    assert len(answer.results) == 10
    assert [one.position for one in answer.results] == list(range(1, 11))
    assert [one.score for one in answer.results] == sorted((one.score for one in answer.results), reverse=True)
    assert all(one.title and one.attribution_token and one.sources for one in answer.results)
    assert {one.kind for one in answer.served_by.models} == {"ranker", "candidates", "embedding"}
    stages = [one.stage for one in answer.served_by.timings]
    assert sorted(stages) == ["filter", "hydrate", "record", "score", "select", "sources"]
    history = ingestion.GetUserHistory(ingestion_pb.GetUserHistoryRequest(user_id="15", limit=1000))
    assert not {one.item_id for one in answer.results} & {event.item_id for event in history.events}


@pytest.mark.parametrize("variant", ["", "dot", "ensemble", "gbdt", "linear"])
def test_explanations_add_up_to_the_score(ranker, variant):
    context = pb.RankingContext(user_id="15", variant=variant)
    answer = ask(ranker, context=context, explain=True, skip_impressions=True)
    asked = [one.item_id for one in answer.results]
    explained = ranker.Explain(pb.ExplainRequest(context=context, item_ids=[*asked, "nothing"]), timeout=20)
    assert [one.item_id for one in explained.results] == asked
    assert explained.unknown_item_ids == ["nothing"]
    for shown, one in zip(answer.results, explained.results, strict=True):
        assert one.score == pytest.approx(shown.score, rel=1e-3, abs=1e-4)
        for result in (shown, one):
            parts = result.explanation
            assert parts.bias + sum(part.contribution for part in parts.features) == pytest.approx(
                result.score, rel=1e-4, abs=1e-5
            )
            assert sum(part.contribution for part in parts.groups) == pytest.approx(
                sum(part.contribution for part in parts.features), abs=1e-5
            )
            assert sum(source.share for source in result.sources) == pytest.approx(1, abs=1e-5)
            assert 1 <= len(parts.history) <= 5
            assert parts.sentence.endswith(".")


def test_batch_equals_single(trained, ranker):
    requests = [
        pb.RecommendRequest(context=pb.RankingContext(user_id=user), k=7, skip_impressions=True)
        for user in (*trained.user_ids[:4], "a stranger")
    ]
    together = ranker.BatchRecommend(pb.BatchRecommendRequest(requests=requests), timeout=30)
    for request, answer in zip(requests, together.responses, strict=True):
        single = ranker.Recommend(request, timeout=20)
        assert [one.item_id for one in single.results] == [one.item_id for one in answer.results]
        # The language model's sums depend on what shares a batch, in the last digit.
        for alone, shared in zip(single.results, answer.results, strict=True):
            assert alone.sources == shared.sources
            assert shared.score == pytest.approx(alone.score, rel=1e-5, abs=1e-5)


def test_a_stranger_is_cold_and_gets_an_answer(ranker):
    answer = ask(ranker, user="never seen before")
    assert answer.temperature == serving_pb2.USER_TEMPERATURE_COLD
    assert len(answer.results) == 10
    assert named(answer) == {}


def test_impressions_arrive_with_the_tokens_of_the_answer(ranker, ingestion):
    answer = ask(ranker, user="the watched one")

    def impressions():
        reply = ingestion.GetUserHistory(
            ingestion_pb.GetUserHistoryRequest(
                user_id="the watched one", types=[event_pb2.EVENT_TYPE_IMPRESSION], limit=100
            )
        )
        return reply.events if len(reply.events) == 10 else None

    written = {event.attribution_token: event for event in eventually(impressions)}
    assert all(event.propensity == 1 for event in written.values())
    for one in answer.results:
        assert written[one.attribution_token].item_id == one.item_id
        assert written[one.attribution_token].position == one.position


def test_an_event_changes_the_next_answer(ranker, ingestion):
    context = pb.RankingContext(user_id="newcomer")
    before = [one.item_id for one in ask(ranker, context=context, skip_impressions=True).results]
    like = event_pb2.Event(user_id="newcomer", item_id=before[0], type=event_pb2.EVENT_TYPE_LIKE)
    ingestion.WriteEvents(ingestion_pb.WriteEventsRequest(events=[like]))
    after = ask(ranker, context=context, skip_impressions=True)
    assert before[0] not in {one.item_id for one in after.results}
    assert after.temperature == serving_pb2.USER_TEMPERATURE_WARM


def test_a_new_item_is_recommended_to_a_fitting_user(ranker, ingestion):
    starwars = ingestion.GetItems(ingestion_pb.GetItemsRequest(item_ids=["260", "1196", "1210"])).items
    history = event_pb2.History(
        events=[event_pb2.HistoryEvent(item_id=one.item_id, type=event_pb2.EVENT_TYPE_LIKE) for one in starwars]
    )
    item = item_pb2.Item(item_id="new-one", title="Star Wars: Episode VII - The Force Awakens")
    ingestion.UpsertItems(ingestion_pb.UpsertItemsRequest(items=[item]))

    def found():
        answer = ask(ranker, context=pb.RankingContext(history=history), k=10)
        return next((one for one in answer.results if one.item_id == "new-one"), None)

    assert eventually(found).is_new
    pinned = ranker.GetModelInfo(pb.GetModelInfoRequest()).model_version
    answer = ask(ranker, context=pb.RankingContext(history=history, model_version=pinned), k=100)
    assert "new-one" not in {one.item_id for one in answer.results}
    ingestion.DeleteItem(ingestion_pb.DeleteItemRequest(item_id="new-one"))
    eventually(lambda: not found())


def test_rank_orders_the_callers_own_items(trained, ranker):
    asked = [*trained.item_ids[:50], "not in the catalogue"]
    answer = ranker.Rank(
        pb.RankRequest(context=pb.RankingContext(user_id="15"), item_ids=asked, explain=True), timeout=20
    )
    assert {one.item_id for one in answer.results} == set(asked)
    assert answer.results[-1].item_id == "not in the catalogue"
    assert answer.unknown_item_ids == ["not in the catalogue"]


def test_model_info_tells_versions_and_lineage(trained, ranker):
    info = ranker.GetModelInfo(pb.GetModelInfoRequest())
    assert {one.name for one in info.fusions} == {"dot", "ensemble", "gbdt", "linear"}
    for one in info.fusions:
        assert {point.axis for point in one.gate} == {"history_events", "item_positives"}
        assert all(sum(point.shares.values()) == pytest.approx(1) for point in one.gate)
    assert sum(one.is_default for one in info.fusions) == 1
    assert all(0 < one.validation["ndcg@10"] <= 1 for one in info.fusions)
    assert info.item_vectors >= len(trained.item_ids)
    # Newest first: what is read last is the newest of its stage.
    by_stage = {one.labels["stage"]: one for one in reversed(info.versions)}
    assert set(by_stage) == {"test", "serving"}
    assert by_stage["serving"].is_current
    assert by_stage["serving"].version == info.model_version
    assert all(set(one.lineage) == {"candidates", "embedding"} and one.data_sequence for one in info.versions)


def test_a_pinned_version_pins_its_candidates(ranker):
    info = ranker.GetModelInfo(pb.GetModelInfoRequest())
    test = next(one for one in info.versions if one.labels["stage"] == "test")
    answer = ask(ranker, context=pb.RankingContext(user_id="15", model_version=test.version))
    models = {one.kind: one.version for one in answer.served_by.models}
    assert models["ranker"] == test.version
    assert models["candidates"] == test.lineage["candidates"]
    assert not any(one.attribution_token for one in answer.results)


def test_an_unknown_variant_lists_the_loaded_ones(ranker):
    with pytest.raises(grpc.RpcError) as caught:
        ask(ranker, context=pb.RankingContext(user_id="15", variant="deep"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "gbdt, linear" in caught.value.details()


def test_training_again_swaps_without_a_failed_call(trained, ranker):
    before = ranker.GetModelInfo(pb.GetModelInfoRequest()).model_version
    with calling(ranker) as (versions, failures):
        ended = trained.job("ranker", "train", "--protocol", "warm", "--progress", "json")
        assert ended.returncode == 0, ended.stderr
        eventually(lambda: len(versions) == 2)
    assert all(json.loads(line).keys() >= {"stage", "done", "total"} for line in ended.stderr.splitlines())
    assert failures == []
    assert set(versions) > {before}
