"""Events and histories, protobuf to domain and back."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fusionrec.common.v1 import event_pb2

from shared.data import limits
from shared.data.nouns import Event, EventType, HistoryEvent, SeenPolicy
from shared.data.validation import check_count, check_id, check_int, check_number, check_text, check_timestamp
from shared.errors import FieldError, InvalidField
from shared.rpc.convert_basic import decode_time, encode_time, seconds_and_nanos

if TYPE_CHECKING:
    from collections.abc import Iterable


def decode_event_type(number: int, field: str) -> EventType:
    """Returns the event type of an enum number.

    Raises:
        InvalidField: UNSPECIFIED or unknown.

    """
    try:
        return EventType(number)
    except ValueError as error:
        names = ", ".join(kind.name for kind in EventType)
        raise InvalidField(field, number, "a set EventType", f"use one of {names}") from error


def decode_event(message: event_pb2.Event, field: str, *, arrived_at: datetime) -> Event:
    """Returns the event; `event_id` stays empty when the client sent none, `timestamp` becomes `arrived_at`.

    Raises:
        InvalidField: a field breaks the contract; its path begins with `field`.
        LimitExceeded: a field is over its limit.

    """
    try:
        return _event(message, arrived_at)
    except FieldError as error:
        raise error.under(field) from error


def read_event(message: event_pb2.Event) -> Event:
    """Returns an event that our own ingestion service sent: it was checked when it was written, and is not again."""
    return Event(
        message.event_id,
        message.user_id,
        message.item_id,
        EventType(message.type),
        decode_time(message.timestamp, "timestamp"),
        message.value if message.HasField("value") else None,
        message.text,
        message.session_id,
        message.attribution_token,
        message.position,
        message.propensity if message.HasField("propensity") else None,
    )


def _event(message: event_pb2.Event, arrived_at: datetime) -> Event:
    kind = decode_event_type(message.type, "type")
    return Event(
        event_id=check_id(message.event_id, "event_id", required=False),
        user_id=check_id(message.user_id, "user_id"),
        item_id=check_id(message.item_id, "item_id"),
        type=kind,
        timestamp=_decode_timestamp(message, arrived_at),
        value=_decode_value(message, kind),
        text=check_text(message.text, "text", limits.MAX_REVIEW_BYTES, required=kind is EventType.REVIEW),
        session_id=check_id(message.session_id, "session_id", required=False),
        attribution_token=check_id(message.attribution_token, "attribution_token", required=False),
        position=check_int(message.position, "position", 0, limits.MAX_POSITION),
        propensity=_decode_propensity(message),
    )


def _decode_timestamp(message: event_pb2.Event | event_pb2.HistoryEvent, absent: datetime) -> datetime:
    if not message.HasField("timestamp"):
        return absent
    return check_timestamp(decode_time(message.timestamp, "timestamp"), "timestamp")


def _decode_value(message: event_pb2.Event | event_pb2.HistoryEvent, kind: EventType) -> float | None:
    if not message.HasField("value"):
        if kind is EventType.RATING:
            raise InvalidField("value", "", "a finite number", "a RATING needs its rating in `value`")
        return None
    if kind is EventType.PLAY:
        return check_number(message.value, "value", 0.0, 1.0)
    return check_number(message.value, "value", -limits.MAX_ABS_VALUE, limits.MAX_ABS_VALUE)


def _decode_propensity(message: event_pb2.Event) -> float | None:
    if not message.HasField("propensity"):
        return None
    propensity = check_number(message.propensity, "propensity", 0.0, 1.0)
    if propensity == 0:
        raise InvalidField("propensity", propensity, "above 0, at most 1", "leave it out where it is not known")
    return propensity


def encode_event(event: Event) -> event_pb2.Event:
    """Returns the message of an event."""
    return event_pb2.Event(
        event_id=event.event_id,
        user_id=event.user_id,
        item_id=event.item_id,
        type=event_pb2.EventType.ValueType(event.type),
        value=event.value,
        timestamp=encode_time(event.timestamp),
        text=event.text,
        session_id=event.session_id,
        attribution_token=event.attribution_token,
        position=event.position,
        propensity=event.propensity,
    )


def decode_history(message: event_pb2.History, field: str) -> list[HistoryEvent]:
    """Returns an explicit history, oldest first; events without a time get "now".

    Raises:
        InvalidField, LimitExceeded: as `decode_event`.

    """
    check_count(message.events, f"{field}.events", limits.MAX_HISTORY)
    now = datetime.now(UTC)
    events = []
    for index, entry in enumerate(message.events):
        try:
            events.append(_history_event(entry, now))
        except FieldError as error:
            raise error.under(f"{field}.events[{index}]") from error
    return events


def _history_event(message: event_pb2.HistoryEvent, now: datetime) -> HistoryEvent:
    kind = decode_event_type(message.type, "type")
    return HistoryEvent(
        check_id(message.item_id, "item_id"),
        kind,
        _decode_timestamp(message, now),
        _decode_value(message, kind),
        check_text(message.text, "text", limits.MAX_REVIEW_BYTES),
    )


def encode_history(events: Iterable[HistoryEvent]) -> event_pb2.History:
    """Returns the message of a history, oldest first."""
    message = event_pb2.History()
    add = message.events.add
    # Field by field: histories of hundreds are encoded for every call, in a third of the time of the constructors.
    for event in events:
        own = add()
        own.item_id, own.type = event.item_id, event_pb2.EventType.ValueType(event.type)
        if event.value is not None:
            own.value = event.value
        if event.text:
            own.text = event.text
        own.timestamp.seconds, own.timestamp.nanos = seconds_and_nanos(event.timestamp)
    return message


def decode_seen_policy(number: int, field: str) -> SeenPolicy:
    """Returns the policy; UNSPECIFIED means HIDE_ALL_SEEN.

    Raises:
        InvalidField: unknown number.

    """
    try:
        return SeenPolicy(number or SeenPolicy.HIDE_ALL_SEEN)
    except ValueError as error:
        names = ", ".join(policy.name for policy in SeenPolicy)
        raise InvalidField(field, number, "a known SeenPolicy", f"use one of {names}") from error
