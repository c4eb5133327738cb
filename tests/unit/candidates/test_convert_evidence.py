"""Evidence written in bulk is what protobuf would have written message by message."""

from __future__ import annotations

import math
import weakref
from datetime import UTC, datetime

import numpy as np
import pytest
from fusionrec.candidates.v1 import candidates_service_pb2 as pb

from services.candidates.convert_answers import AnswerEncoder
from services.candidates.convert_evidence import encode_evidence
from services.candidates.merge.evidence import Evidence
from services.candidates.queries import CandidateAnswer, CandidateSet, Served
from shared.data.limits import MAX_CANDIDATES
from shared.data.nouns import Temperature

NAMES = ("als", "item_item_recent", "quelle-ü")


def message_by_message(evidence):
    return [
        pb.Candidate(
            evidence=[
                pb.SourceEvidence(source=name, rank=rank, score=score)
                for name, rank, score in zip(evidence.names, ranks, scores, strict=True)
                if not math.isnan(score)
            ]
        )
        for ranks, scores in zip(evidence.ranks.tolist(), evidence.scores.tolist(), strict=True)
    ]


def evidence_of(rows, *, unknown=0.0):
    rng = np.random.default_rng(3)
    scores = rng.standard_normal((rows, len(NAMES))).astype(np.float32)
    scores[rng.random(scores.shape) < unknown] = np.nan
    return Evidence(NAMES, rng.integers(0, MAX_CANDIDATES, scores.shape), scores)


@pytest.mark.parametrize("evidence", [evidence_of(0), evidence_of(40), evidence_of(40, unknown=0.4)])
def test_any_evidence(evidence):
    assert [pb.Candidate.FromString(one) for one in encode_evidence(evidence)] == message_by_message(evidence)


@pytest.mark.parametrize("score", [0.0, -0.0, 1e-45, 3.4e38, float("inf"), float("-inf"), float("nan")])
@pytest.mark.parametrize("rank", [0, 1, 127, 128, 16_383, 16_384, MAX_CANDIDATES, 2_097_151])
def test_the_ends_of_the_ranges(rank, score):
    evidence = Evidence(("popular",), np.array([[rank]]), np.array([[score]], np.float32))
    (made,) = (pb.Candidate.FromString(one) for one in encode_evidence(evidence))
    (expected,) = message_by_message(evidence)
    assert made == expected
    # Zeros were written out, but are not handed on: the message is as any other.
    assert made.SerializeToString(deterministic=True) == expected.SerializeToString(deterministic=True)


def test_no_sources_no_evidence():
    nothing = Evidence((), np.zeros((2, 0), np.int64), np.zeros((2, 0), np.float32))
    assert encode_evidence(nothing) == [b"", b""]


def test_columns_of_any_memory_layout():
    evidence = evidence_of(9, unknown=0.2)
    turned = Evidence(NAMES, np.asfortranarray(evidence.ranks), np.asfortranarray(evidence.scores))
    assert encode_evidence(turned) == encode_evidence(evidence)


def test_names_that_do_not_fit_are_refused():
    evidence = Evidence(("n" * 128,), np.zeros((1, 1), np.int64), np.zeros((1, 1), np.float32))
    with pytest.raises(ValueError, match="too long"):
        encode_evidence(evidence)


def answer_of(evidence):
    found = CandidateSet(["a", "b", "c"], np.array([0.3, 0.2, 0.0]), np.array([False, True, False]), evidence, ())
    computed_at = datetime(2026, 1, 1, tzinfo=UTC)
    return CandidateAnswer(found, Temperature.WARM, Served("v1", "flat-v1", ()), computed_at)


def test_an_answer_has_each_candidate_with_its_own_evidence():
    evidence = evidence_of(3, unknown=0.3)
    answer = AnswerEncoder().encode(answer_of(evidence), by_column=False)
    assert [(one.item_id, one.is_new) for one in answer.candidates] == [("a", False), ("b", True), ("c", False)]
    np.testing.assert_allclose([one.score for one in answer.candidates], [0.3, 0.2, 0.0], rtol=1e-6)
    for one, expected in zip(answer.candidates, message_by_message(evidence), strict=True):
        assert list(one.evidence) == list(expected.evidence)
    assert pb.GetCandidatesResponse.FromString(answer.SerializeToString()) == answer


def test_an_answer_given_again_is_the_same_in_both_forms():
    encoder, made = AnswerEncoder(), answer_of(evidence_of(3, unknown=0.3))
    by_column = encoder.encode(made, by_column=True)
    one_by_one = encoder.encode(made, by_column=False)
    assert not one_by_one.HasField("columns")
    assert list(by_column.columns.item_ids) == [one.item_id for one in one_by_one.candidates]
    assert by_column.computed_at.ToDatetime(UTC) == made.computed_at
    batch = encoder.encode_batch([made, made], [True, False])
    assert list(batch.responses) == [by_column, one_by_one]


def test_an_answer_given_again_by_column_is_encoded_once():
    encoder, evidence = AnswerEncoder(), evidence_of(3)
    made, equal = answer_of(evidence), answer_of(evidence)
    message = encoder.encode(made, by_column=True)
    assert encoder.encode(made, by_column=True) is message
    assert encoder.encode(equal, by_column=True) is not message


def test_what_is_encoded_keeps_no_answer_in_memory():
    encoder, made = AnswerEncoder(), answer_of(evidence_of(3))
    encoder.encode(made, by_column=True)
    gone = weakref.ref(made)
    del made
    assert gone() is None
