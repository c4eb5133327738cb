"""Ingestion's messages to domain types and back. Decoding checks every limit of the contract."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fusionrec.common.v1 import error_pb2
from fusionrec.ingestion.v1 import ingestion_service_pb2 as pb

from services.ingestion.reading.cursors import encode_cursor, encode_page_token
from services.ingestion.writing.identity import identified
from shared.data import limits
from shared.data.nouns import Event, EventType, Item, ItemDeleted, LogRecord
from shared.data.validation import check_count, check_id
from shared.errors import InvalidField, LimitExceeded, Violation
from shared.rpc.convert import (
    decode_event,
    decode_event_type,
    decode_item,
    encode_event,
    encode_item,
    encode_served_by,
    encode_time,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from fusionrec.common.v1 import event_pb2, item_pb2

    from services.ingestion.ports import StoreStats, Stretch, UserHistory
    from services.ingestion.writing.writer import Outcome, Written
    from shared.telemetry.stages import StageTime

_HISTORY_TYPES = frozenset(EventType) - {EventType.IMPRESSION}


def decode_events(messages: Sequence[event_pb2.Event]) -> list[Event | Violation]:
    """Returns each event with its id, or what is wrong with it.

    Raises:
        InvalidField: none.
        LimitExceeded: more than 1000.

    """
    check_count(messages, "events", limits.MAX_WRITE_BATCH, minimum=1)
    arrived_at = datetime.now(UTC)
    return [_event_or_violation(message, f"events[{i}]", arrived_at) for i, message in enumerate(messages)]


def _event_or_violation(message: event_pb2.Event, field: str, arrived_at: datetime) -> Event | Violation:
    try:
        event = decode_event(message, field, arrived_at=arrived_at)
    except (InvalidField, LimitExceeded) as error:
        return error.violation
    return identified(event, has_timestamp=message.HasField("timestamp"))


def decode_items(messages: Sequence[item_pb2.Item]) -> list[Item | Violation]:
    """Returns each item, or what is wrong with it.

    Raises:
        InvalidField: none.
        LimitExceeded: more than 1000.

    """
    check_count(messages, "items", limits.MAX_WRITE_BATCH, minimum=1)
    return [_item_or_violation(message, f"items[{i}]") for i, message in enumerate(messages)]


def _item_or_violation(message: item_pb2.Item, field: str) -> Item | Violation:
    # The server sets these; what a client sends is ignored, valid or not.
    message.ClearField("created_at")
    message.ClearField("updated_at")
    try:
        return decode_item(message, field)
    except (InvalidField, LimitExceeded) as error:
        return error.violation


def decode_item_ids(ids: Sequence[str]) -> list[str]:
    """Returns the ids of a GetItems request, each once.

    Raises:
        InvalidField: none, or an empty one.
        LimitExceeded: more than 1000, or one that is too long.

    """
    check_count(ids, "item_ids", limits.MAX_GET_ITEMS, minimum=1)
    return list(dict.fromkeys(check_id(item_id, f"item_ids[{i}]") for i, item_id in enumerate(ids)))


def decode_types(numbers: Iterable[int], field: str) -> frozenset[EventType]:
    """Returns a set of event types.

    Raises:
        InvalidField: UNSPECIFIED or unknown.

    """
    return frozenset(decode_event_type(number, f"{field}[{i}]") for i, number in enumerate(numbers))


def decode_history_types(numbers: Sequence[int]) -> frozenset[EventType]:
    """Returns the types of a history: those given, else all but IMPRESSION.

    Raises:
        InvalidField: UNSPECIFIED or unknown.

    """
    return decode_types(numbers, "types") if numbers else _HISTORY_TYPES


def encode_violation(violation: Violation) -> error_pb2.FieldViolation:
    """Returns the message of a violation."""
    return error_pb2.FieldViolation(
        field=violation.field,
        value=violation.value,
        limit=violation.limit,
        hint=violation.hint,
        reason=error_pb2.ErrorReason.ValueType(violation.reason),
    )


def encode_outcome(outcome: Outcome) -> pb.WriteResult:
    """Returns the message of what became of one element."""
    return pb.WriteResult(
        status=pb.WriteStatus.ValueType(outcome.status),
        id=outcome.id,
        violation=None if outcome.violation is None else encode_violation(outcome.violation),
    )


def encode_written_events(written: Written, log_id: str) -> pb.WriteEventsResponse:
    """Returns the answer to a batch of events."""
    return pb.WriteEventsResponse(
        results=map(encode_outcome, written.outcomes),
        cursor=encode_cursor(log_id, written.sequence),
        unknown_items=written.unknown_items,
    )


def encode_acknowledgement(batch_id: int, written: Written, log_id: str) -> pb.StreamEventsResponse:
    """Returns the acknowledgement of one batch of a feed."""
    return pb.StreamEventsResponse(
        batch_id=batch_id,
        results=map(encode_outcome, written.outcomes),
        cursor=encode_cursor(log_id, written.sequence),
    )


def encode_written_items(written: Written, log_id: str) -> pb.UpsertItemsResponse:
    """Returns the answer to a batch of items."""
    return pb.UpsertItemsResponse(
        results=map(encode_outcome, written.outcomes), cursor=encode_cursor(log_id, written.sequence)
    )


def encode_items(asked: Sequence[str], found: Mapping[str, Item]) -> pb.GetItemsResponse:
    """Returns the items found in the order asked for, and the ids of the others."""
    return pb.GetItemsResponse(
        items=[encode_item(found[item_id]) for item_id in asked if item_id in found],
        missing_item_ids=[item_id for item_id in asked if item_id not in found],
    )


def encode_page(items: Sequence[Item], *, more: bool) -> pb.ListItemsResponse:
    """Returns one page of the catalogue."""
    return pb.ListItemsResponse(
        items=map(encode_item, items), next_page_token=encode_page_token(items[-1].item_id) if more else ""
    )


def encode_record(record: LogRecord) -> pb.LogRecord:
    """Returns the message of one record of the log."""
    message = pb.LogRecord(sequence=record.sequence, appended_at=encode_time(record.appended_at))
    match record.body:
        case Event() as event:
            message.event.CopyFrom(encode_event(event))
        case Item() as item:
            message.item_upserted.CopyFrom(encode_item(item))
        case ItemDeleted(item_id):
            message.item_deleted = item_id
        case user_forgotten:
            message.user_forgotten = user_forgotten.user_id
    return message


def encode_stretch(stretch: Stretch, log_id: str) -> pb.ReadEventsResponse:
    """Returns the message of a stretch of the log."""
    return pb.ReadEventsResponse(
        records=map(encode_record, stretch.records),
        cursor=encode_cursor(log_id, stretch.position),
        caught_up=stretch.at_end,
    )


def encode_user_history(history: UserHistory, log_id: str) -> pb.GetUserHistoryResponse:
    """Returns the message of a user's history."""
    return pb.GetUserHistoryResponse(
        events=map(encode_event, history.events),
        total=history.total,
        cursor=encode_cursor(log_id, history.sequence),
        sequence=history.sequence,
        unchanged=history.unchanged,
    )


def encode_stats(
    stats: StoreStats, *, log_id: str, engine: str, rejected: int, stages: Iterable[StageTime]
) -> pb.GetStatsResponse:
    """Returns the message of the counts; `rejected`: events since the start."""
    return pb.GetStatsResponse(
        events=sum(stats.events_by_type.values()),
        events_by_type={f"EVENT_TYPE_{kind.name}": events for kind, events in stats.events_by_type.items()},
        users=stats.users,
        items=stats.items,
        unknown_items=stats.unknown_items,
        rejected_events=rejected,
        oldest_event=None if stats.oldest is None else encode_time(stats.oldest),
        newest_event=None if stats.newest is None else encode_time(stats.newest),
        cursor=encode_cursor(log_id, stats.sequence),
        engine=engine,
        served_by=encode_served_by({}, stages),
    )
