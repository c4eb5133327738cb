"""Protobuf to domain and back, with every limit of the contract checked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fusionrec.candidates.v1 import candidates_service_pb2 as pb
from fusionrec.common.v1 import serving_pb2

from services.candidates.queries import CandidateQuery, MergeMethod, SimilarQuery, UsersQuery
from services.candidates.versions.version import KIND
from shared.data import limits
from shared.data.validation import check_count, check_id, check_int, check_text
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.convert import (
    decode_filter,
    decode_history,
    decode_seen_policy,
    decode_time,
    decode_vector,
    encode_served_by,
    encode_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from services.candidates.queries import Served, ServiceInfo, SimilarAnswer, UsersAnswer

MAX_SOURCES = 32
"""Source names in one request: more than there are sources of any version."""
IDS_PER_ELEMENT = 20
"""Item ids that take as long to decode as one event of a history."""


def elements(messages: Iterable[pb.GetCandidatesRequest]) -> int:
    """Returns how much there is to decode, in the elements that `shared.offload` counts."""
    return sum(
        1 + len(one.history.events) + (len(one.score_item_ids) + len(one.filter.exclude_item_ids)) // IDS_PER_ELEMENT
        for one in messages
    )


def decode_candidates(message: pb.GetCandidatesRequest, prefix: str = "") -> CandidateQuery:
    """Returns the query; `prefix` begins the field paths in errors.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract.

    """
    has_history = message.HasField("history")
    check_count(message.score_item_ids, f"{prefix}score_item_ids", limits.MAX_CANDIDATES)
    check_count(message.sources, f"{prefix}sources", MAX_SOURCES)
    # `k` does not matter when the caller names the items.
    smallest = 0 if message.score_item_ids else 1
    return CandidateQuery(
        user_id=check_id(message.user_id, f"{prefix}user_id", required=not has_history),
        history=tuple(decode_history(message.history, f"{prefix}history")) if has_history else None,
        k=check_int(message.k, f"{prefix}k", smallest, limits.MAX_CANDIDATES),
        sources=tuple(message.sources),
        item_filter=decode_filter(message.filter, f"{prefix}filter"),
        seen_policy=decode_seen_policy(message.seen_policy, f"{prefix}seen_policy"),
        score_item_ids=tuple(
            check_id(item_id, f"{prefix}score_item_ids[{place}]")
            for place, item_id in enumerate(message.score_item_ids)
        ),
        model_version=check_id(message.model_version, f"{prefix}model_version", required=False),
        as_of=decode_time(message.as_of, f"{prefix}as_of") if message.HasField("as_of") else None,
        merge_method=_decode_merge_method(message.merge_method, f"{prefix}merge_method"),
    )


def decode_batch(message: pb.BatchGetCandidatesRequest) -> list[CandidateQuery]:
    """Returns the queries of a batch.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract, or the batch is too large.

    """
    check_count(message.requests, "requests", limits.MAX_BATCH_CANDIDATES, minimum=1)
    queries = [decode_candidates(one, f"requests[{place}].") for place, one in enumerate(message.requests)]
    total = sum(max(query.k, len(query.score_item_ids)) for query in queries)
    if total > limits.MAX_BATCH_CANDIDATES_K:
        limit = f"{limits.MAX_BATCH_CANDIDATES_K} candidates in all"
        raise LimitExceeded("requests", f"{total} candidates", limit, "send fewer requests or smaller k")
    return queries


def _decode_merge_method(number: int, field: str) -> MergeMethod:
    if number not in pb.MergeMethod.values():
        raise InvalidField(field, number, "a MergeMethod", "leave it unset for the service's own")
    return MergeMethod(number)


def decode_similar(message: pb.GetSimilarItemsRequest) -> SimilarQuery:
    """Returns the query.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract, or none of the three queries is set.

    """
    kind = message.WhichOneof("query")
    if kind is None:
        raise InvalidField("query", "", "exactly one of item_id, vector, text", "set one of them")
    text, item_id = "", ""
    if kind == "text":
        text = check_text(message.text, "text", limits.MAX_EMBED_TEXT_BYTES, required=True)
    elif kind == "item_id":
        item_id = check_id(message.item_id, "item_id")
    return SimilarQuery(
        k=check_int(message.k, "k", 1, limits.MAX_SIMILAR),
        space=message.space,
        item_id=item_id,
        vector=decode_vector(message.vector, "vector") if kind == "vector" else None,
        text=text,
        item_filter=decode_filter(message.filter, "filter"),
        model_version=check_id(message.model_version, "model_version", required=False),
    )


def encode_similar(answer: SimilarAnswer) -> pb.GetSimilarItemsResponse:
    """Returns the message of an answer."""
    pairs = zip(answer.item_ids, answer.similarities, strict=True)
    return pb.GetSimilarItemsResponse(
        items=[pb.SimilarItem(item_id=item_id, similarity=similarity) for item_id, similarity in pairs],
        space=answer.space,
        served_by=encode_served(answer.served),
    )


def decode_users(message: pb.GetSimilarUsersRequest) -> UsersQuery:
    """Returns the query.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract.

    """
    has_history = message.HasField("history")
    return UsersQuery(
        user_id=check_id(message.user_id, "user_id", required=not has_history),
        history=tuple(decode_history(message.history, "history")) if has_history else None,
        k=check_int(message.k, "k", 1, limits.MAX_SIMILAR),
        model_version=check_id(message.model_version, "model_version", required=False),
    )


def encode_users(answer: UsersAnswer) -> pb.GetSimilarUsersResponse:
    """Returns the message of an answer."""
    pairs = zip(answer.user_ids, answer.similarities, strict=True)
    return pb.GetSimilarUsersResponse(
        users=[pb.SimilarUser(user_id=user_id, similarity=similarity) for user_id, similarity in pairs],
        served_by=encode_served(answer.served),
    )


def decode_info(message: pb.GetIndexInfoRequest) -> str:
    """Returns the version asked for, empty for the current one.

    Raises:
        InvalidField, LimitExceeded: not a version's name.

    """
    return check_id(message.model_version, "model_version", required=False)


def encode_info(info: ServiceInfo) -> pb.GetIndexInfoResponse:
    """Returns the message of what is loaded."""
    return pb.GetIndexInfoResponse(
        model_version=info.model_version,
        index_version=info.index_version,
        embedding_version=info.embedding_version,
        sources=[
            pb.SourceInfo(
                name=one.name, description=one.description, items=one.items, proposes=one.proposes, live=one.live
            )
            for one in info.sources
        ],
        indexes=[
            pb.IndexInfo(
                space=one.space,
                type=one.type,
                dim=one.dim,
                vectors=one.vectors,
                added_live=one.added_live,
                recall_at_100=one.recall_at_100,
                parameters=one.parameters,
                pending=one.pending,
                rebuilds=one.rebuilds,
            )
            for one in info.indexes
        ],
        catalogue_items=info.catalogue_items,
        cursor=info.cursor,
        status_reason=info.status_reason,
        has_quotas=info.has_quotas,
        versions=[
            serving_pb2.VersionInfo(
                version=one.version,
                created_at=encode_time(one.created_at),
                labels=one.labels,
                lineage=one.lineage,
                data_sequence=one.data_sequence,
                is_current=one.is_current,
            )
            for one in info.versions
        ],
    )


def encode_served(served: Served) -> serving_pb2.ServedBy:
    """Returns the message of which version answered, and where the time went."""
    models = {KIND: served.version}
    if served.embedding_version:
        models["embedding"] = served.embedding_version
    return encode_served_by(models, served.stages, served.index_version)
