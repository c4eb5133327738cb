"""The largest replies that can be asked for fit into one message."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services.ranker.convert_replies import elements, encode_batch, encode_recommendations
from services.ranker.features.registry import FEATURES
from services.ranker.nouns import Answer, Explanation, FeatureContribution, HistoryReason, Result, SourceShare
from shared.data import limits
from shared.data.nouns import Temperature
from shared.offload import INLINE_ELEMENTS

ID = "i" * limits.MAX_ID_BYTES
TITLE = "t" * limits.MAX_TITLE_BYTES
SHARES = tuple(SourceShare(name, 1_999, 0.123, 0.25) for name in ("als", "item_item", "aligned_text", "popular"))
EXPLANATION = Explanation(
    0.5,
    tuple(FeatureContribution(one.name, one.group, 0.25, 0.125) for one in FEATURES),
    {"cf": 1.0, "aligned_text": 1.0, "popularity": 1.0, "context": 1.0},
    tuple(HistoryReason(ID, TITLE, 0.2, "behaviour") for _ in range(5)),
    f"People who liked {TITLE} and {TITLE} liked this.",
)
PLAIN = Result(ID, 1.5, 1_000, SHARES, 0.5, 0.5, "a" * 37, is_new=True, title=TITLE)


def answer(result: Result, count: int) -> Answer:
    return Answer(tuple([result] * count), Temperature.HOT, (), {"ranker": "v", "candidates": "v"}, "x", ())


def test_a_batch_of_as_many_results_as_may_be_asked_for_fits():
    answers = [answer(PLAIN, limits.MAX_RECOMMEND_K)] * (limits.MAX_BATCH_RECOMMEND_K // limits.MAX_RECOMMEND_K)
    reply = encode_batch(answers, [True] * len(answers))
    assert sum(len(one.results) for one in reply.responses) == limits.MAX_BATCH_RECOMMEND_K
    assert reply.ByteSize() < limits.MAX_MESSAGE_BYTES


def test_as_many_explained_results_as_may_be_asked_for_fit():
    explained = answer(replace(PLAIN, explanation=EXPLANATION), limits.MAX_BATCH_RECOMMEND_EXPLAIN_K)
    reply = encode_recommendations(explained, include_titles=True)
    assert reply.ByteSize() < limits.MAX_MESSAGE_BYTES


@pytest.mark.parametrize(("result", "few", "many"), [(PLAIN, 80, 90), (replace(PLAIN, explanation=EXPLANATION), 3, 5)])
def test_large_replies_are_encoded_in_a_thread(result, few, many):
    assert elements([answer(result, few)]) <= INLINE_ELEMENTS < elements([answer(result, many)])
