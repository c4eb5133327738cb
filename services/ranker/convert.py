"""Ranker requests, protobuf to domain. Decoding checks every limit; replies are in `convert_replies`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from services.ranker.convert_selection import check_together, decode_selection
from services.ranker.nouns import ExplainRequest, Question, RankRequest, RecommendRequest
from shared.data import limits
from shared.data.validation import check_count, check_id, check_int, check_number, check_timestamp
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.convert import decode_filter, decode_history, decode_seen_policy, decode_time

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence, Sized

    from fusionrec.ranker.v1 import ranker_service_pb2 as pb

SMALLEST = 2
"""What a request without any list takes to decode, in elements."""
IDS_PER_ELEMENT = 20
"""Item ids that take as long to decode as one event of a history."""


def elements(messages: Iterable[pb.RecommendRequest]) -> int:
    """Returns how much there is to decode, in elements as `shared.offload` counts them."""
    return sum(SMALLEST + elements_of(one.context) + _ids(one) // IDS_PER_ELEMENT for one in messages)


def _ids(message: pb.RecommendRequest) -> int:
    return len(message.filter.exclude_item_ids) + len(message.selection.block_item_ids)


def elements_of(context: pb.RankingContext, item_ids: Sized = ()) -> int:
    """Returns the same for a context and a list of items."""
    return len(context.history.events) + len(item_ids) // IDS_PER_ELEMENT


def decode_question(message: pb.RankingContext, field: str = "context") -> Question:
    """Returns for whom, with which model, at what time.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract; its path begins with `field`.

    """
    history = None
    if message.HasField("history"):
        history = tuple(decode_history(message.history, f"{field}.history"))
    as_of = None
    if message.HasField("as_of"):
        as_of = check_timestamp(decode_time(message.as_of, f"{field}.as_of"), f"{field}.as_of")
    return Question(
        user_id=check_id(message.user_id, f"{field}.user_id", required=history is None),
        history=history,
        variant=check_id(message.variant, f"{field}.variant", required=False),
        model_version=check_id(message.model_version, f"{field}.model_version", required=False),
        min_model_version=check_id(message.min_model_version, f"{field}.min_model_version", required=False),
        as_of=as_of,
    )


def decode_recommend(message: pb.RecommendRequest, prefix: str = "") -> RecommendRequest:
    """Returns a Recommend request; raises as `decode_question`. `prefix` stands before the fields' paths."""
    k = check_int(message.k, f"{prefix}k", 1, limits.MAX_RECOMMEND_K)
    diversity = None
    if message.HasField("diversity"):
        diversity = check_number(message.diversity, f"{prefix}diversity", 0.0, 1.0)
    if message.explore and diversity:
        hint = "ask for one of the two: the propensities of exploration hold for an order by score"
        raise InvalidField(f"{prefix}diversity", diversity, "0 together with explore", hint)
    slots = None
    if message.HasField("new_item_slots"):
        slots = check_int(message.new_item_slots, f"{prefix}new_item_slots", 0, k)
    selection = decode_selection(message.selection, f"{prefix}selection", k)
    check_together(message, selection, prefix)
    return RecommendRequest(
        question=decode_question(message.context, f"{prefix}context"),
        k=k,
        item_filter=decode_filter(message.filter, f"{prefix}filter"),
        seen_policy=decode_seen_policy(message.seen_policy, f"{prefix}seen_policy"),
        diversity=diversity,
        explore=message.explore,
        new_item_slots=slots,
        explain=message.explain,
        skip_impressions=message.skip_impressions,
        include_titles=message.include_titles,
        selection=selection,
    )


def decode_batch(message: pb.BatchRecommendRequest) -> list[RecommendRequest]:
    """Returns the requests of a batch; raises as `decode_question`."""
    check_count(message.requests, "requests", limits.MAX_BATCH_RECOMMEND, minimum=1)
    _check_total(sum(one.k for one in message.requests), limits.MAX_BATCH_RECOMMEND_K, "")
    explained = sum(one.k for one in message.requests if one.explain)
    _check_total(explained, limits.MAX_BATCH_RECOMMEND_EXPLAIN_K, " with explain")
    return [decode_recommend(one, f"requests[{index}].") for index, one in enumerate(message.requests)]


def decode_rank(message: pb.RankRequest) -> RankRequest:
    """Returns a Rank request; raises as `decode_question`."""
    return RankRequest(
        question=decode_question(message.context),
        item_ids=_item_ids(message.item_ids, limits.MAX_CANDIDATES),
        k=check_int(message.k, "k", 0, limits.MAX_CANDIDATES),
        explain=message.explain,
    )


def decode_explain(message: pb.ExplainRequest) -> ExplainRequest:
    """Returns an Explain request; raises as `decode_question`."""
    item_ids = _item_ids(message.item_ids, limits.MAX_EXPLAIN_ITEMS)
    return ExplainRequest(question=decode_question(message.context), item_ids=item_ids)


def _check_total(total: int, maximum: int, kind: str) -> None:
    # The reply has to fit into one message.
    if total > maximum:
        limit = f"at most {maximum} results{kind} in all"
        raise LimitExceeded("requests", f"{total} results{kind}", limit, "use a smaller k, or several calls")


def _item_ids(values: Sequence[str], maximum: int) -> tuple[str, ...]:
    check_count(values, "item_ids", maximum, minimum=1)
    seen: set[str] = set()
    for index, value in enumerate(values):
        check_id(value, f"item_ids[{index}]")
        if value in seen:
            raise InvalidField(f"item_ids[{index}]", value, "no item twice", "leave the second one out")
        seen.add(value)
    return tuple(values)
