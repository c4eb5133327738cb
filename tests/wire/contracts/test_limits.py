"""The limits that the contracts state in their comments are those that the code checks."""

from __future__ import annotations

import re

import pytest
from fusionrec import channel

from shared.data import limits

STATED = {
    "Event.event_id": ["MAX_ID_BYTES"],
    "Event.user_id": ["MAX_ID_BYTES"],
    "Event.item_id": ["MAX_ID_BYTES"],
    "Event.value": ["MAX_ABS_VALUE"],
    "Event.text": ["MAX_REVIEW_BYTES"],
    "Event.session_id": ["MAX_ID_BYTES"],
    "Event.attribution_token": ["MAX_ID_BYTES"],
    "Event.position": ["MAX_POSITION"],
    "HistoryEvent.item_id": ["MAX_ID_BYTES"],
    "History.events": ["MAX_HISTORY"],
    "StringList.values": ["MAX_CATEGORIES", "MAX_ID_BYTES"],
    "AttributeValue.string_value": ["MAX_ATTRIBUTE_STRING_BYTES"],
    "Item.item_id": ["MAX_ID_BYTES"],
    "Item.title": ["MAX_TITLE_BYTES"],
    "Item.text": ["MAX_ITEM_TEXT_BYTES"],
    "Item.categories": ["MAX_CATEGORIES", "MAX_ID_BYTES"],
    "Item.attributes": ["MAX_ATTRIBUTES", "MAX_ATTRIBUTE_NAME_BYTES"],
    "Item.vectors": ["MAX_ITEM_VECTORS"],
    "ItemFilter.categories_any": ["MAX_FILTER_CATEGORIES"],
    "ItemFilter.categories_all": ["MAX_FILTER_CATEGORIES"],
    "ItemFilter.categories_none": ["MAX_FILTER_CATEGORIES"],
    "ItemFilter.attributes": ["MAX_FILTER_RULES"],
    "ItemFilter.exclude_item_ids": ["MAX_EXCLUDED_ITEMS"],
    "Vector.dim": ["MAX_VECTOR_DIM"],
    "WriteEventsRequest.events": ["MAX_WRITE_BATCH"],
    "StreamEventsRequest.events": ["MAX_WRITE_BATCH"],
    "UpsertItemsRequest.items": ["MAX_WRITE_BATCH"],
    "GetItemsRequest.item_ids": ["MAX_GET_ITEMS"],
    "ListItemsRequest.page_size": ["DEFAULT_PAGE_SIZE", "MAX_PAGE_SIZE"],
    "ReadEventsRequest.batch_size": ["DEFAULT_READ_BATCH", "MAX_READ_BATCH"],
    "GetUserHistoryRequest.limit": ["DEFAULT_HISTORY", "MAX_HISTORY"],
    "EmbedRequest.texts": ["MAX_EMBED_TEXTS", "MAX_EMBED_TEXT_BYTES"],
    "AttributeRequest.text": ["MAX_EMBED_TEXT_BYTES"],
    "AttributeRequest.other": ["MAX_EMBED_TEXT_BYTES"],
    "AttributeRequest.others": ["MAX_ATTRIBUTE_TEXTS"],
    "AttributeRequest.attention_layers": ["MAX_ATTENTION_LAYERS", "MAX_ATTENTION_WEIGHTS"],
    "WeightedText.text": ["MAX_EMBED_TEXT_BYTES"],
    "WeightedText.weight": ["MAX_ATTRIBUTE_WEIGHT"],
    "GetCandidatesRequest.k": ["MAX_CANDIDATES"],
    "GetCandidatesRequest.score_item_ids": ["MAX_CANDIDATES"],
    "BatchGetCandidatesRequest.requests": ["MAX_BATCH_CANDIDATES", "MAX_BATCH_CANDIDATES_K"],
    "GetSimilarItemsRequest.k": ["MAX_SIMILAR"],
    "GetSimilarItemsRequest.text": ["MAX_EMBED_TEXT_BYTES"],
    "GetSimilarUsersRequest.k": ["MAX_SIMILAR"],
    "RecommendRequest.k": ["MAX_RECOMMEND_K"],
    "BatchRecommendRequest.requests": [
        "MAX_BATCH_RECOMMEND",
        "MAX_BATCH_RECOMMEND_K",
        "MAX_BATCH_RECOMMEND_EXPLAIN_K",
    ],
    "RankRequest.item_ids": ["MAX_CANDIDATES", "MAX_ID_BYTES"],
    "ExplainRequest.item_ids": ["MAX_EXPLAIN_ITEMS"],
    "CategoryCap.category": ["MAX_ID_BYTES"],
    "CategoryCap.max_items": ["MAX_RECOMMEND_K"],
    "SelectionRule.name": ["MAX_RULE_NAME_BYTES"],
    "SelectionRule.boost": ["MAX_RULE_AMOUNT"],
    "SelectionRule.bury": ["MAX_RULE_AMOUNT"],
    "SelectionOptions.category_caps": ["MAX_CATEGORY_CAPS"],
    "SelectionOptions.max_per_category": ["MAX_RECOMMEND_K"],
    "SelectionOptions.pins": ["MAX_PINS"],
    "SelectionOptions.block_item_ids": ["MAX_BLOCKED_ITEMS"],
    "SelectionOptions.rules": ["MAX_SELECTION_RULES"],
    "EvaluateRankingsRequest.rankings": ["MAX_RANKINGS"],
    "EvaluateRankingsRequest.judgements": ["MAX_JUDGEMENTS"],
    "EvaluateRankingsRequest.metrics": ["MAX_METRICS", "MAX_METRIC_K"],
    "EvaluateRankingsRequest.per_query": ["MAX_PER_QUERY_VALUES"],
    "ListReportsRequest.page_size": ["DEFAULT_REPORTS", "MAX_REPORTS"],
    "Ranking.item_ids": ["MAX_RANKING_LENGTH"],
    "Judgement.gain": ["MAX_GAIN"],
}


def numbers_in(comment: str) -> set[float]:
    return {float(number) for number in re.findall(r"\d+(?:e\d+)?(?:\.\d+)?", comment)}


@pytest.mark.parametrize("field", STATED)
def test_the_comment_states_the_limit_that_is_checked(comments, field):
    for name in STATED[field]:
        assert float(getattr(limits, name)) in numbers_in(comments[field]), f"{name}: {comments[field]}"


def test_the_rest_of_the_stated_limits(comments):
    assert limits.MAX_EMBED_TOTAL_BYTES == 8 * 1024**2
    assert "8 MiB" in comments["EmbedRequest.texts"]
    assert limits.MAX_ATTRIBUTE_TOTAL_BYTES == 1024**2
    assert "1 MiB" in comments["AttributeRequest.others"]
    assert f"{limits.OLDEST_TIMESTAMP:%Y-%m-%d}" in comments["Event.timestamp"]
    assert limits.MAX_FUTURE.days == 1
    assert "one day in the future" in comments["Event.timestamp"]


def test_every_field_with_a_limit_is_in_the_table(comments):
    """A limit that is added to a contract is added here, or this fails."""
    stating = {field for field, comment in comments.items() if re.search(r"[Aa]t most \d{2,}|\d to \d{3,}", comment)}
    ids = {
        "GetCandidatesRequest.user_id", "GetSimilarUsersRequest.user_id", "RankingContext.user_id", "Ranking.query_id",
        "Judgement.query_id", "Judgement.item_id", "CompareVariantsRequest.experiment",
        "AssignVariantRequest.experiment", "AssignVariantRequest.user_id", "GetReportRequest.report_id",
        "DeleteItemRequest.item_id", "GetUserHistoryRequest.user_id", "ForgetUserRequest.user_id",
    }  # fmt: skip
    for field in ids:
        assert float(limits.MAX_ID_BYTES) in numbers_in(comments[field]), field
    assert stating - set(STATED) - ids == set()


def test_client_and_server_agree_on_the_largest_message():
    assert channel.MAX_MESSAGE_BYTES == limits.MAX_MESSAGE_BYTES
    options = dict(channel.channel_options())
    assert options["grpc.max_receive_message_length"] == options["grpc.max_send_message_length"] == 16 * 1024**2
