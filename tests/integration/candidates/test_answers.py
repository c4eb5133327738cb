"""What the served path answers, on trained models."""

from __future__ import annotations

from datetime import UTC, datetime

import grpc
import numpy as np
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.common.v1 import event_pb2, item_pb2, serving_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from google.protobuf.timestamp_pb2 import Timestamp

from shared.data.nouns import EventType, HistoryEvent
from shared.rpc.convert import encode_history, encode_vector
from shared.rpc.status import error_info

START = datetime(2020, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def client(trained):
    return trained


def taste(item_id):
    return int(item_id.split("-")[1]) % 3


async def test_a_user_gets_what_fits(client):
    answer = await client.get("user-1", k=10)
    ids = [one.item_id for one in answer.candidates]
    assert len(ids) == len(set(ids)) == 10
    assert sum(taste(item_id) == 1 for item_id in ids[:5]) >= 4
    assert answer.temperature == serving_pb2.USER_TEMPERATURE_HOT
    assert {model.kind: model.version for model in answer.served_by.models} == {"candidates": client.version}
    assert client.version in answer.served_by.index_version
    assert [one.stage for one in answer.served_by.timings] == ["history", "sources", "merge"]


async def test_seen_items_stay_away_unless_they_may_come(client):
    history = (await client.world.ingestion.GetUserHistory(_history_of("user-2"))).events
    seen = {event.item_id for event in history}
    assert not seen & set(await client.ids("user-2", k=60))
    allowed = await client.ids("user-2", k=60, seen_policy=event_pb2.SEEN_POLICY_ALLOW_REPEATS)
    assert seen <= set(allowed)
    bought = await client.ids("user-2", k=60, seen_policy=event_pb2.SEEN_POLICY_HIDE_BOUGHT)
    assert seen <= set(bought)


def _history_of(user_id):
    return ingestion_pb.GetUserHistoryRequest(user_id=user_id)


async def test_every_source_that_can_says_something_of_every_candidate(client, liked):
    tried = HistoryEvent("item-6", EventType.RATING, START, 2.0)
    answer = await client.get(history=(tried, *liked("item-3", "item-9")), k=20)
    names = {one.source for one in answer.sources}
    views = {"item_item_recent", "item_item_decayed", "als_recent", "aligned_text_recent"}
    assert names == {"als", "als_tried", "item_item", "user_knn", "sequential", "aligned_text", "popular"} | views
    proposed = {one.source: one.proposed for one in answer.sources}
    assert all(proposed[name] > 0 for name in names - views)
    assert all(proposed[name] == 0 for name in views)
    for candidate in answer.candidates:
        evidence = {one.source: one for one in candidate.evidence}
        assert {"aligned_text", "popular"} <= set(evidence)
        weights = {"item_item": 0.5, "aligned_text": 0.3, "popular": 0.15}
        expected = sum(weights.get(one.source, 1) / (60 + one.rank) for one in evidence.values() if one.rank)
        assert candidate.score == pytest.approx(expected, rel=1e-5)


async def test_merged_scores_fall(client, liked):
    scores = [one.score for one in (await client.get(history=liked("item-3"), k=40)).candidates]
    assert scores == sorted(scores, reverse=True)


async def test_an_unknown_user_is_cold_and_gets_what_is_popular(client):
    answer = await client.get("nobody", k=5)
    assert answer.temperature == serving_pb2.USER_TEMPERATURE_COLD
    assert len(answer.candidates) == 5
    reasons = {one.source: one.reason for one in answer.sources}
    assert "no liked item" in reasons["als"]
    assert all({one.source for one in candidate.evidence} == {"popular"} for candidate in answer.candidates)


async def test_an_explicit_history_counts_instead_of_the_stored_one(client, liked):
    with_user = await client.ids("user-1", history=liked("item-3", "item-6"), k=10)
    without = await client.ids(history=liked("item-3", "item-6"), k=10)
    assert with_user == without
    assert all(taste(item_id) == 0 for item_id in without[:5])
    empty = await client.get("user-1", history=(), k=5)
    assert empty.temperature == serving_pb2.USER_TEMPERATURE_COLD


async def test_only_the_asked_sources_answer(client, liked):
    answer = await client.get(history=liked("item-3"), k=5, sources=["aligned_text", "popular"])
    assert {one.source for one in answer.sources} == {"aligned_text", "popular"}
    answer = await client.get(history=liked("item-3"), k=5, sources=["item_item_recent"])
    assert len(answer.candidates) == 5
    assert {one.source for candidate in answer.candidates for one in candidate.evidence} == {"item_item_recent"}


async def test_a_narrow_filter_is_searched_not_sifted(client, liked):
    one_item = item_pb2.ItemFilter(
        categories_any=["western"],
        attributes=[
            item_pb2.AttributeRule(name="year", range=item_pb2.NumberRange(min=1982, max=1985)),
            item_pb2.AttributeRule(name="colour", any_of=item_pb2.StringList(values=["red"])),
        ],
    )
    for history in (liked("item-3"), ()):
        ids = await client.ids(history=history, k=5, filter=one_item)
        expected = [number for number in range(60) if number % 3 == 2 and 2 <= number % 30 <= 5 and number % 2 == 0]
        assert sorted(ids) == sorted(f"item-{number}" for number in expected)


async def test_a_filter_on_an_unknown_attribute_is_refused_and_names_the_known(client, liked):
    rule = item_pb2.AttributeRule(name="yaer", range=item_pb2.NumberRange(min=1982))
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await client.get(history=liked("item-3"), k=5, filter=item_pb2.ItemFilter(attributes=[rule]))
    assert error.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    info = error_info(error.value)
    assert (info.metadata["field"], info.metadata["value"]) == ("filter.attributes[0].name", "yaer")
    assert "colour, year" in info.metadata["limit"]


async def test_a_short_answer_says_why(client, liked):
    western = item_pb2.ItemFilter(categories_any=["western"])
    answer = await client.get(history=liked("item-3"), k=50, filter=western)
    assert (len(answer.candidates), answer.reason) == (20, "the filter and the seen policy leave 20 of 60 items")
    assert (await client.get(history=liked("item-3"), k=5)).reason == ""


async def test_by_column_says_the_same(client, liked):
    history = liked("item-3", "item-9")
    answer = await client.get(history=history, k=20)
    columns = (await client.get(history=history, k=20, by_column=True)).columns
    assert list(columns.item_ids) == [one.item_id for one in answer.candidates]
    assert np.frombuffer(columns.scores, "<f4").tolist() == [one.score for one in answer.candidates]
    assert np.frombuffer(columns.is_new, np.bool_).tolist() == [one.is_new for one in answer.candidates]
    for place, candidate in enumerate(answer.candidates):
        evidence = {
            one.source: (np.frombuffer(one.ranks, "<i4")[place], np.frombuffer(one.scores, "<f4")[place])
            for one in columns.evidence
        }
        told = {one.source: (one.rank, np.float32(one.score)) for one in candidate.evidence}
        assert told == {source: own for source, own in evidence.items() if not np.isnan(own[1])}


async def test_excluded_items_stay_away(client, liked):
    first = await client.ids(history=liked("item-3"), k=5)
    rest = await client.ids(history=liked("item-3"), k=5, filter=item_pb2.ItemFilter(exclude_item_ids=[*first, "?"]))
    assert len(rest) == 5
    assert not set(first) & set(rest)


async def test_own_items_are_scored_in_their_order(client, liked):
    asked = ["item-40", "nothing", "item-3", "item-40"]
    answer = await client.get(history=liked("item-3", "item-9"), k=0, score_item_ids=asked)
    assert [one.item_id for one in answer.candidates] == asked
    assert not answer.candidates[1].evidence
    assert answer.candidates[1].score == 0
    listed = await client.get(history=liked("item-3", "item-9"), k=60, seen_policy=event_pb2.SEEN_POLICY_ALLOW_REPEATS)
    found = {one.item_id: {e.source: e.score for e in one.evidence} for one in listed.candidates}
    scored = {e.source: e.score for e in answer.candidates[0].evidence}
    assert scored == pytest.approx(found["item-40"], rel=1e-5)


async def test_a_batch_answers_as_its_single_calls(client, liked):
    requests = [
        pb.GetCandidatesRequest(history=encode_history(liked("item-3")), k=7),
        pb.GetCandidatesRequest(user_id="user-4", k=9),
        pb.GetCandidatesRequest(user_id="nobody", k=3),
    ]
    batch = await client.stub.BatchGetCandidates(pb.BatchGetCandidatesRequest(requests=requests))
    for request, answer in zip(requests, batch.responses, strict=True):
        alone = await client.stub.GetCandidates(request)
        assert list(answer.candidates) == list(alone.candidates)


def _day(year):
    return datetime(year, 1, 1, tzinfo=UTC)


async def test_a_stored_history_can_be_asked_as_of_a_time(client):
    cold = await client.get("user-1", k=5, as_of=Timestamp(seconds=int(_day(2019).timestamp())))
    assert cold.temperature == serving_pb2.USER_TEMPERATURE_COLD


@pytest.mark.parametrize("space", ["", "cf", "content"])
async def test_similar_items_share_the_taste(client, space):
    answer = await client.stub.GetSimilarItems(pb.GetSimilarItemsRequest(item_id="item-4", k=6, space=space))
    assert answer.space == (space or "cf")
    assert "item-4" not in [one.item_id for one in answer.items]
    assert sum(taste(one.item_id) == 1 for one in answer.items) >= 5
    similarities = [one.similarity for one in answer.items]
    assert similarities == sorted(similarities, reverse=True)
    assert all(-1 <= one <= 1 for one in similarities)


@pytest.mark.parametrize("space", ["cf", "content"])
async def test_similar_to_a_text(client, space):
    answer = await client.stub.GetSimilarItems(pb.GetSimilarItemsRequest(text="a western story", k=6, space=space))
    assert sum(taste(one.item_id) == 2 for one in answer.items) >= 5
    assert {model.kind for model in answer.served_by.models} == {"candidates", "embedding"}


async def test_similar_to_a_vector(client):
    embedded = await client.world.embedder.embed(["western"], urgent=True)
    answer = await client.stub.GetSimilarItems(
        pb.GetSimilarItemsRequest(vector=encode_vector(embedded.vectors[0] * np.float32(9)), k=6, space="content")
    )
    assert sum(taste(one.item_id) == 2 for one in answer.items) == 6


async def test_info_says_what_is_loaded(client, liked):
    info = await client.info()
    assert info.model_version == client.version
    assert info.status_reason == ""
    assert info.embedding_version == "hashing-1"
    assert info.catalogue_items == 60
    assert {one.space: (one.dim, one.vectors, one.added_live) for one in info.indexes} == {
        "cf": (8, 60, 0),
        "content": (32, 60, 0),
        "als": (8, 60, 0),
        "aligned_text": (8, 60, 0),
        "user_knn": (8, 36, 0),
    }
    assert {one.name: one.items for one in info.sources}["popular"] == 60
    # Those that propose are those that report a list when no source is asked for by name.
    tried = HistoryEvent("item-9", EventType.RATING, START, 2.0)
    answer = await client.get(history=(tried, *liked("item-3", "item-6")), k=5)
    assert {one.name for one in info.sources if one.proposes} == {one.source for one in answer.sources if one.proposed}
    (version,) = info.versions
    assert dict(version.labels) == {"protocol": "warm", "stage": "serving"}
    assert dict(version.lineage) == {"embedding": "hashing-1"}
    assert version.is_current
    assert version.data_sequence > 60
