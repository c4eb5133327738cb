"""Lists among real neighbours: given again, and put together by options."""

from __future__ import annotations

import pytest
from fusionrec.common.v1 import event_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as ingestion_pb
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from .asking import ask, fresh


def test_an_answer_is_given_again_until_the_user_does_something(ranker, ingestion):
    context = pb.RankingContext(user_id="a visitor")
    first, again = (ask(ranker, context=context, skip_impressions=True) for _ in range(2))
    assert again.computed_at == first.computed_at
    assert again.recommendation_id != first.recommendation_id
    assert [one.item_id for one in again.results] == [one.item_id for one in first.results]
    like = event_pb2.Event(user_id="a visitor", item_id=first.results[0].item_id, type=event_pb2.EVENT_TYPE_LIKE)
    ingestion.WriteEvents(ingestion_pb.WriteEventsRequest(events=[like]))
    after = ask(ranker, context=context, skip_impressions=True)
    assert after.computed_at != first.computed_at
    assert like.item_id not in {one.item_id for one in after.results}


def test_caps_pins_and_rules_over_the_wire(ranker, ingestion):
    plain = ask(ranker, k=20, include_titles=True, filter=fresh())
    last = plain.results[-1].item_id
    items = {
        one.item_id: one
        for one in ingestion.GetItems(
            ingestion_pb.GetItemsRequest(item_ids=[one.item_id for one in plain.results])
        ).items
    }
    # Other tests have written items without any.
    genre = next(items[one.item_id].categories[0] for one in plain.results if items[one.item_id].categories)
    options = pb.SelectionOptions(
        category_caps=[pb.CategoryCap(category=genre, max_items=1)],
        pins=[] if genre in items[last].categories else [pb.Pin(item_id=last, position=2)],
        rules=[pb.SelectionRule(name="old", when={"attributes": [{"name": "year", "range": {"max": 1980}}]}, boost=2)],
        block_item_ids=[plain.results[1].item_id],
    )
    answer = ask(ranker, k=20, explain=True, selection=options)
    shown = [one.item_id for one in answer.results]
    of_list = ingestion.GetItems(ingestion_pb.GetItemsRequest(item_ids=shown)).items
    assert sum(genre in one.categories for one in of_list) <= 1
    assert plain.results[1].item_id not in shown
    assert not options.pins or shown[1] == last
    years = {one.item_id: one.attributes["year"].number_value for one in of_list if "year" in one.attributes}
    for one in answer.results:
        why = one.explanation
        total = why.bias + sum(part.contribution for part in why.features)
        assert total == pytest.approx(one.score, rel=1e-4, abs=1e-4)
        by_rules = sum(part.contribution for part in why.groups if part.group == "rules")
        assert (by_rules > 0) == (years.get(one.item_id, 9999) <= 1980)
