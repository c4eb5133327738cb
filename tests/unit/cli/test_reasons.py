"""What `fusionrec recommend --explain` prints of an answer: who, why, and parts that add up."""

from __future__ import annotations

import io
import re

from fusionrec.common.v1 import serving_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb
from rich.console import Console

from shared.cli.recommend import show

HISTORY = [("Alien", 0.4, "behaviour"), ("Brazil", 0.2, "text"), ("Cube", 0.1, "text"), ("Dune", 0.05, "text")]
FEATURES = [("als_place", "cf", 1.5), ("popularity", "popularity", -1.25), ("lm_best", "text", 0.5)]


def answer(history=HISTORY, features=FEATURES):
    explanation = pb.Explanation(
        bias=0.25,
        features=[{"feature": name, "group": group, "contribution": value} for name, group, value in features],
        groups=[{"group": group, "contribution": value} for _, group, value in features],
        history=[{"item_id": title, "title": title, "weight": weight, "kind": kind} for title, weight, kind in history],
        sentence="People who liked Alien liked this.",
    )
    score = 0.25 + sum(value for _, _, value in features)
    one = pb.Recommendation(item_id="e", title="Eraserhead", score=score, position=1, explanation=explanation)
    return pb.RecommendResponse(results=[one], temperature=serving_pb2.USER_TEMPERATURE_HOT, candidates_scored=7)


def printed(response, **options):
    stream = io.StringIO()
    show(response, "user u", Console(file=stream, width=140), **options)
    return stream.getvalue()


def test_the_user_is_named_with_the_temperature():
    assert printed(answer()).startswith("user u (hot), 7 candidates scored")


def test_the_score_is_the_sum_of_what_is_printed():
    line = next(line for line in printed(answer()).splitlines() if "score" in line and "base" in line)
    total, *parts = (float(number) for number in re.findall(r"[+-]?\d+\.\d{3}", line))
    assert total == 1.0 == sum(parts)
    assert line.split()[-2:] == ["+0.500", "text"]


def test_what_is_not_shown_of_the_history_is_told_as_the_rest():
    told = printed(answer())
    assert "40% by behaviour: Alien" in told
    assert "Dune" not in told
    assert "30% by the rest of the history" in told
    assert "the rest" not in printed(answer(history=[("Alien", 1.0, "text")]))


def test_words_are_shown_of_the_items_that_have_some():
    assert "words close to what the user likes: Sci-Fi +0.200" in printed(answer(), words={"e": [("Sci-Fi", 0.2)]})
    assert "words" not in printed(answer(), words={"other": [("Sci-Fi", 0.2)]})
