"""Requests that are valid and odd, among real neighbours: nothing fails that need not."""

from __future__ import annotations

import grpc
import pytest
from fusionrec.common.v1 import event_pb2, item_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from .asking import ask, named


def liked(*item_ids):
    events = [event_pb2.HistoryEvent(item_id=one, type=event_pb2.EVENT_TYPE_LIKE) for one in item_ids]
    return pb.RankingContext(history=event_pb2.History(events=events))


@pytest.mark.parametrize("known", [0, 2])
def test_a_history_with_items_that_nobody_knows(trained, ranker, known):
    context = liked(*trained.item_ids[:known], *(f"never written {n}" for n in range(50)))
    answer = ask(ranker, context=context, explain=True)
    assert named(answer) == {}
    assert len(answer.results) == 10
    reasons = {reason.item_id for one in answer.results for reason in one.explanation.history}
    assert reasons <= set(trained.item_ids[:known])
    ranked = ranker.Rank(pb.RankRequest(context=context, item_ids=trained.item_ids[:5]), timeout=20)
    assert {one.item_id for one in ranked.results} == set(trained.item_ids[:5])


@pytest.mark.parametrize(
    "nothing",
    [
        item_pb2.ItemFilter(categories_any=["a category of nobody"]),
        item_pb2.ItemFilter(attributes=[{"name": "year", "range": {"min": 2900}}]),
    ],
    ids=["categories", "attributes"],
)
def test_a_filter_that_leaves_nothing_gives_an_empty_list_and_says_why(ranker, nothing):
    answer = ask(ranker, filter=nothing)
    assert not answer.results
    assert answer.empty_reason == "the filter and the rules leave no candidate"
    assert named(answer) == {}


def test_excluding_the_whole_catalogue_says_so_too(trained, ranker):
    everything = item_pb2.ItemFilter(exclude_item_ids=[*trained.item_ids, *(f"more {n}" for n in range(5_000))])
    answer = ask(ranker, filter=everything)
    assert {one.item_id for one in answer.results} & set(trained.item_ids) == set()
    assert bool(answer.results) != bool(answer.empty_reason)


def test_an_unknown_variant_is_refused_by_every_call(trained, ranker):
    context = pb.RankingContext(user_id="15", variant="quantum")
    item_ids = trained.item_ids[:3]
    for call, request in (
        (ranker.BatchRecommend, pb.BatchRecommendRequest(requests=[pb.RecommendRequest(context=context, k=3)])),
        (ranker.Rank, pb.RankRequest(context=context, item_ids=item_ids)),
        (ranker.Explain, pb.ExplainRequest(context=context, item_ids=item_ids)),
    ):
        with pytest.raises(grpc.RpcError) as caught:
            call(request, timeout=20)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        assert "no variant 'quantum'" in caught.value.details()
