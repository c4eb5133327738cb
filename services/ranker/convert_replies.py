"""Ranker replies, domain to protobuf."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.common.v1 import serving_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

from services.ranker.features.registry import FEATURES
from shared.rpc.convert import encode_served_by, encode_time

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.internal.containers import RepeatedCompositeFieldContainer

    from services.ranker.info import ModelInfo
    from services.ranker.nouns import Answer, Degradation, Explanation, Result, ShownNote, VersionNote

RESULTS_PER_ELEMENT, ELEMENTS_PER_EXPLANATION = 2, 10
"""What results take to encode: an explanation has the contributions of all features."""


def elements(answers: Sequence[Answer]) -> int:
    """Returns how much there is to encode, in elements as `shared.offload` counts them."""
    results = sum(len(one.results) for one in answers)
    explained = sum(len(one.results) for one in answers if one.results and one.results[0].explanation is not None)
    return results // RESULTS_PER_ELEMENT + ELEMENTS_PER_EXPLANATION * explained


def encode_recommendations(answer: Answer, *, include_titles: bool) -> pb.RecommendResponse:
    """Returns the reply of Recommend."""
    message = pb.RecommendResponse(
        temperature=serving_pb2.UserTemperature.ValueType(answer.temperature),
        degraded=_degraded(answer.degraded),
        served_by=_served_by(answer),
        recommendation_id=answer.recommendation_id,
        candidates_scored=answer.candidates_scored,
        empty_reason=answer.empty_reason,
        unmet=answer.unmet,
        computed_at=None if answer.computed_at is None else encode_time(answer.computed_at),
        variant=answer.variant,
    )
    _put_results(message.results, answer.results, include_titles=include_titles)
    return message


def encode_batch(answers: Sequence[Answer], include_titles: Sequence[bool]) -> pb.BatchRecommendResponse:
    """Returns the reply of BatchRecommend."""
    pairs = zip(answers, include_titles, strict=True)
    return pb.BatchRecommendResponse(
        responses=[encode_recommendations(one, include_titles=titles) for one, titles in pairs]
    )


def encode_ranking(answer: Answer) -> pb.RankResponse:
    """Returns the reply of Rank."""
    message = pb.RankResponse(
        unknown_item_ids=answer.unknown_item_ids,
        temperature=serving_pb2.UserTemperature.ValueType(answer.temperature),
        degraded=_degraded(answer.degraded),
        served_by=_served_by(answer),
        variant=answer.variant,
    )
    _put_results(message.results, answer.results, include_titles=False)
    return message


def encode_explanations(answer: Answer) -> pb.ExplainResponse:
    """Returns the reply of Explain."""
    message = pb.ExplainResponse(
        unknown_item_ids=answer.unknown_item_ids,
        degraded=_degraded(answer.degraded),
        served_by=_served_by(answer),
        variant=answer.variant,
    )
    _put_results(message.results, answer.results, include_titles=True)
    return message


def encode_info(info: ModelInfo) -> pb.GetModelInfoResponse:
    """Returns the reply of GetModelInfo."""
    return pb.GetModelInfoResponse(
        model_version=info.model_version,
        candidates_version=info.candidates_version,
        embedding_version=info.embedding_version,
        fusions=[
            pb.FusionInfo(
                name=one.name,
                description=one.description,
                is_default=one.is_default,
                validation=dict(one.validation),
                gate=[pb.GatePoint(axis=point.axis, at=point.at, shares=dict(point.shares)) for point in one.gate],
            )
            for one in info.fusions
        ],
        features=[
            pb.FeatureInfo(name=one.name, group=one.group, unit=one.unit, description=one.description)
            for one in FEATURES
        ],
        status_reason=info.status_reason,
        versions=[_version(one) for one in info.versions],
        item_vectors=info.item_vectors,
        shown=None if info.shown is None else _shown(info.shown),
    )


def _shown(note: ShownNote) -> pb.ShownInfo:
    return pb.ShownInfo(
        lists=note.lists,
        taken=note.taken,
        learned=note.learned,
        explored=note.explored,
        examination=[pb.ExaminationPoint(last_position=last, examined=value) for last, value in note.examination],
    )


def _put_results(
    messages: RepeatedCompositeFieldContainer[pb.Recommendation], results: Sequence[Result], *, include_titles: bool
) -> None:
    # Put in place, field by field: a message that is handed to another's constructor is copied with all that is in it,
    # and a list of 20 with the evidence of a dozen sources has hundreds.
    for result in results:
        message = messages.add()
        message.item_id = result.item_id
        message.score = result.score
        message.position = result.position
        message.cf_contribution = result.cf_contribution
        message.text_contribution = result.text_contribution
        message.attribution_token = result.attribution_token
        message.is_new = result.is_new
        message.propensity = result.propensity
        if include_titles:
            message.title = result.title
        if result.explanation is not None:
            message.explanation.CopyFrom(_explanation(result.explanation))
        add = message.sources.add
        for one in result.sources:
            share = add()
            share.source, share.rank, share.score, share.share = one.source, one.rank, one.score, one.share


def _explanation(explanation: Explanation) -> pb.Explanation:
    return pb.Explanation(
        bias=explanation.bias,
        features=[
            pb.FeatureContribution(feature=one.feature, group=one.group, value=one.value, contribution=one.contribution)
            for one in explanation.features
        ],
        groups=[pb.GroupContribution(group=name, contribution=value) for name, value in explanation.groups.items()],
        history=[
            pb.HistoryReason(item_id=one.item_id, title=one.title, weight=one.weight, kind=one.kind)
            for one in explanation.history
        ],
        sentence=explanation.sentence,
        sentence_by=explanation.sentence_by,
    )


def _degraded(degraded: Sequence[Degradation]) -> list[serving_pb2.Degradation]:
    return [
        serving_pb2.Degradation(component=one.component, reason=one.reason, fallback=one.fallback) for one in degraded
    ]


def _served_by(answer: Answer) -> serving_pb2.ServedBy:
    return encode_served_by(answer.models, answer.stages, answer.index_version)


def _version(note: VersionNote) -> serving_pb2.VersionInfo:
    return serving_pb2.VersionInfo(
        version=note.version,
        created_at=encode_time(note.created_at),
        labels=dict(note.labels),
        lineage=dict(note.lineage),
        data_sequence=note.data_sequence,
        is_current=note.is_current,
    )
