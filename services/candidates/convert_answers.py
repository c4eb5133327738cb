"""Answers with candidates to protobuf, one by one or by column; what is given again by column is encoded once."""

from __future__ import annotations

from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.common.v1 import serving_pb2

from services.candidates.convert import encode_served
from services.candidates.convert_evidence import encode_evidence
from shared.rpc.convert import encode_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.candidates.queries import CandidateAnswer, CandidateSet


class AnswerEncoder:
    """Makes the messages of answers. By column an answer has one message for as long as it is in memory.

    That is some bytes a candidate: an answer that is kept can have them, too. One by one it is a hundred times that.
    Used by several threads at once: at worst two of them encode the same answer, and one message stays.
    """

    def __init__(self) -> None:
        self._by_column: WeakKeyDictionary[CandidateAnswer, pb.GetCandidatesResponse] = WeakKeyDictionary()

    def encode(self, answer: CandidateAnswer, *, by_column: bool) -> pb.GetCandidatesResponse:
        """Returns the message of an answer, the candidates one by one or by column; nobody may write to it."""
        if not by_column:
            return _encode(answer, by_column=False)
        message = self._by_column.get(answer)
        if message is None:
            message = self._by_column[answer] = _encode(answer, by_column=True)
        return message

    def encode_batch(
        self, answers: Iterable[CandidateAnswer], by_column: Iterable[bool]
    ) -> pb.BatchGetCandidatesResponse:
        """Returns the message of a batch's answers, each one by one or by column."""
        pairs = zip(answers, by_column, strict=True)
        return pb.BatchGetCandidatesResponse(responses=[self.encode(one, by_column=how) for one, how in pairs])


def _encode(answer: CandidateAnswer, *, by_column: bool) -> pb.GetCandidatesResponse:
    message = pb.GetCandidatesResponse(
        sources=[
            pb.SourceReport(
                source=one.source,
                proposed=one.proposed,
                compute_us=one.compute_us,
                failed=one.failed,
                reason=one.reason,
            )
            for one in answer.candidates.reports
        ],
        temperature=serving_pb2.UserTemperature.ValueType(answer.temperature),
        served_by=encode_served(answer.served),
        merge_method=pb.MergeMethod.ValueType(answer.candidates.merge_method),
        reason=answer.candidates.reason,
        computed_at=encode_time(answer.computed_at),
    )
    if by_column:
        _set_columns(message.columns, answer.candidates)
    else:
        _add_candidates(message, answer.candidates)
    return message


def _set_columns(message: pb.CandidateColumns, found: CandidateSet) -> None:
    evidence = found.evidence
    message.item_ids.extend(found.item_ids)
    message.scores = found.scores.astype("<f4").tobytes()
    message.is_new = found.is_new.astype("u1").tobytes()
    ranks, scores = evidence.ranks.astype("<i4").T, evidence.scores.astype("<f4").T
    for name, own_ranks, own_scores in zip(evidence.names, ranks, scores, strict=True):
        message.evidence.add(source=name, ranks=own_ranks.tobytes(), scores=own_scores.tobytes())


def _add_candidates(message: pb.GetCandidatesResponse, found: CandidateSet) -> None:
    # Added in place: a list of messages handed to the constructor would be copied, evidence and all.
    add = message.candidates.add
    columns = zip(
        found.item_ids, found.scores.tolist(), found.is_new.tolist(), encode_evidence(found.evidence), strict=True
    )
    for item_id, score, is_new, evidence in columns:
        add(item_id=item_id, score=score, is_new=is_new).MergeFromString(evidence)
