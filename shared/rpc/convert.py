"""The shared nouns, protobuf to domain and back. Decoding checks every limit that the contract states.

Total: every valid message decodes, every domain value encodes; round trips are tested.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from fusionrec.common.v1 import event_pb2, item_pb2, serving_pb2, vector_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from shared.data import limits
from shared.data.nouns import AttributeRule, AttributeValue, Event, EventType, HistoryEvent, Item, ItemFilter, SeenPolicy
from shared.data.validation import check_count, check_id, check_int, check_number, check_text, check_timestamp
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.context import request_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from shared.telemetry.stages import StageTime


def decode_time(message: Timestamp, field: str) -> datetime:
    """Returns a timezone-aware UTC time.

    Raises:
        InvalidField: not a valid protobuf timestamp.

    """
    try:
        return message.ToDatetime(UTC)
    except (ValueError, OverflowError) as error:
        hint = "send seconds since 1970 in `seconds`, 0..999999999 in `nanos`"
        raise InvalidField(field, message.seconds, "a valid google.protobuf.Timestamp", hint) from error


def encode_time(value: datetime) -> Timestamp:
    """Returns the protobuf timestamp of a timezone-aware time."""
    message = Timestamp()
    message.FromDatetime(value)
    return message


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
    kind = decode_event_type(message.type, f"{field}.type")
    timestamp = arrived_at
    if message.HasField("timestamp"):
        timestamp = check_timestamp(decode_time(message.timestamp, f"{field}.timestamp"), f"{field}.timestamp")
    return Event(
        event_id=check_id(message.event_id, f"{field}.event_id", required=False),
        user_id=check_id(message.user_id, f"{field}.user_id"),
        item_id=check_id(message.item_id, f"{field}.item_id"),
        type=kind,
        timestamp=timestamp,
        value=_decode_value(message, kind, field),
        text=check_text(message.text, f"{field}.text", limits.MAX_REVIEW_BYTES, required=kind is EventType.REVIEW),
        session_id=check_id(message.session_id, f"{field}.session_id", required=False),
        attribution_token=check_id(message.attribution_token, f"{field}.attribution_token", required=False),
        position=check_int(message.position, f"{field}.position", 0, limits.MAX_POSITION),
    )


def _decode_value(message: event_pb2.Event | event_pb2.HistoryEvent, kind: EventType, field: str) -> float | None:
    if not message.HasField("value"):
        if kind is EventType.RATING:
            raise InvalidField(f"{field}.value", "", "a finite number", "a RATING needs its rating in `value`")
        return None
    if kind is EventType.PLAY:
        return check_number(message.value, f"{field}.value", 0.0, 1.0)
    return check_number(message.value, f"{field}.value", -limits.MAX_ABS_VALUE, limits.MAX_ABS_VALUE)


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
        path = f"{field}.events[{index}]"
        kind = decode_event_type(entry.type, f"{path}.type")
        timestamp = now
        if entry.HasField("timestamp"):
            timestamp = check_timestamp(decode_time(entry.timestamp, f"{path}.timestamp"), f"{path}.timestamp")
        item_id = check_id(entry.item_id, f"{path}.item_id")
        text = check_text(entry.text, f"{path}.text", limits.MAX_REVIEW_BYTES)
        events.append(HistoryEvent(item_id, kind, timestamp, _decode_value(entry, kind, path), text))
    return events


def encode_history(events: Iterable[HistoryEvent]) -> event_pb2.History:
    """Returns the message of a history, oldest first."""
    return event_pb2.History(
        events=[
            event_pb2.HistoryEvent(
                item_id=event.item_id,
                type=event_pb2.EventType.ValueType(event.type),
                value=event.value,
                timestamp=encode_time(event.timestamp),
                text=event.text,
            )
            for event in events
        ]
    )


def decode_vector(message: vector_pb2.Vector, field: str) -> NDArray[np.float32]:
    """Returns a float32 array of shape (dim,).

    Raises:
        InvalidField: the bytes do not fit `dim`, or a value is NaN or infinite.
        LimitExceeded: more than 4096 values.

    """
    dim = check_int(message.dim, f"{field}.dim", 1, limits.MAX_VECTOR_DIM)
    if len(message.data) != 4 * dim:
        limit = f"{4 * dim} bytes (4 * dim)"
        raise InvalidField(f"{field}.data", f"{len(message.data)} bytes", limit, "pack float32 little-endian")
    vector = np.frombuffer(message.data, dtype="<f4").astype(np.float32)
    if not np.isfinite(vector).all():
        raise InvalidField(f"{field}.data", "NaN or infinity", "finite values", "check what made the vector")
    return vector


def encode_vector(vector: NDArray[np.float32]) -> vector_pb2.Vector:
    """Returns the message of a float32 array of shape (dim,)."""
    return vector_pb2.Vector(data=vector.astype("<f4", copy=False).tobytes(), dim=vector.shape[0])


def decode_item(message: item_pb2.Item, field: str) -> Item:
    """Returns the item; `created_at` and `updated_at` are read as they are.

    Raises:
        InvalidField, LimitExceeded: a field breaks the contract; its path begins with `field`.

    """
    check_count(message.categories, f"{field}.categories", limits.MAX_CATEGORIES)
    check_count(message.attributes, f"{field}.attributes", limits.MAX_ATTRIBUTES)
    check_count(message.vectors, f"{field}.vectors", limits.MAX_ITEM_VECTORS)
    available_from = _optional_time(message, "available_from", field)
    available_until = _optional_time(message, "available_until", field)
    if available_from and available_until and available_until <= available_from:
        limit = "after available_from"
        raise InvalidField(f"{field}.available_until", available_until.isoformat(), limit, "swap or fix the two times")
    return Item(
        item_id=check_id(message.item_id, f"{field}.item_id"),
        title=check_text(message.title, f"{field}.title", limits.MAX_TITLE_BYTES),
        text=check_text(message.text, f"{field}.text", limits.MAX_ITEM_TEXT_BYTES),
        categories=tuple(check_id(name, f"{field}.categories[{i}]") for i, name in enumerate(message.categories)),
        attributes={
            _attribute_name(name, field): _decode_attribute(value, f"{field}.attributes[{name!r}]")
            for name, value in message.attributes.items()
        },
        available_from=available_from,
        available_until=available_until,
        vectors={
            check_id(space, f"{field}.vectors"): decode_vector(vector, f"{field}.vectors[{space!r}]")
            for space, vector in message.vectors.items()
        },
        created_at=_optional_time(message, "created_at", field),
        updated_at=_optional_time(message, "updated_at", field),
    )


def encode_item(item: Item) -> item_pb2.Item:
    """Returns the message of an item."""
    message = item_pb2.Item(item_id=item.item_id, title=item.title, text=item.text, categories=item.categories)
    for name, value in item.attributes.items():
        message.attributes[name].CopyFrom(encode_attribute(value))
    for space, vector in item.vectors.items():
        message.vectors[space].CopyFrom(encode_vector(vector))
    for name in ("available_from", "available_until", "created_at", "updated_at"):
        time: datetime | None = getattr(item, name)
        if time is not None:
            getattr(message, name).FromDatetime(time)
    return message


def encode_attribute(value: AttributeValue) -> item_pb2.AttributeValue:
    """Returns the message of an attribute value."""
    if isinstance(value, bool):
        return item_pb2.AttributeValue(bool_value=value)
    if isinstance(value, str):
        return item_pb2.AttributeValue(string_value=value)
    if isinstance(value, datetime):
        return item_pb2.AttributeValue(timestamp_value=encode_time(value))
    if isinstance(value, tuple):
        return item_pb2.AttributeValue(string_list=item_pb2.StringList(values=value))
    return item_pb2.AttributeValue(number_value=value)


def _decode_attribute(message: item_pb2.AttributeValue, field: str) -> AttributeValue:
    kind = message.WhichOneof("kind")
    if kind == "string_value":
        return check_text(message.string_value, field, limits.MAX_ATTRIBUTE_STRING_BYTES)
    if kind == "number_value":
        return check_number(message.number_value, field, -1e300, 1e300)
    if kind == "bool_value":
        return message.bool_value
    if kind == "string_list":
        check_count(message.string_list.values, field, limits.MAX_CATEGORIES)
        return tuple(check_id(word, f"{field}[{i}]") for i, word in enumerate(message.string_list.values))
    if kind == "timestamp_value":
        return decode_time(message.timestamp_value, field)
    raise InvalidField(field, "", "exactly one value set", "set one of the value fields")


def _attribute_name(name: str, field: str) -> str:
    limit = f"1..{limits.MAX_ATTRIBUTE_NAME_BYTES} bytes"
    if not name:
        raise InvalidField(f"{field}.attributes", name, limit, "name the attribute")
    if len(name.encode()) > limits.MAX_ATTRIBUTE_NAME_BYTES:
        raise LimitExceeded(f"{field}.attributes", name, limit, "use a shorter name")
    return name


def _optional_time(message: item_pb2.Item, name: str, field: str) -> datetime | None:
    if not message.HasField(name):  # type: ignore[arg-type]
        return None
    return decode_time(getattr(message, name), f"{field}.{name}")


def decode_filter(message: item_pb2.ItemFilter, field: str) -> ItemFilter:
    """Returns the filter.

    Raises:
        InvalidField, LimitExceeded: a list is over its limit, or a rule is empty.

    """
    for name in ("categories_any", "categories_all", "categories_none"):
        check_count(getattr(message, name), f"{field}.{name}", limits.MAX_FILTER_CATEGORIES)
    check_count(message.attributes, f"{field}.attributes", limits.MAX_FILTER_RULES)
    check_count(message.exclude_item_ids, f"{field}.exclude_item_ids", limits.MAX_EXCLUDED_ITEMS)
    rules = (_decode_rule(rule, f"{field}.attributes[{i}]") for i, rule in enumerate(message.attributes))
    return ItemFilter(
        categories_any=frozenset(message.categories_any),
        categories_all=frozenset(message.categories_all),
        categories_none=frozenset(message.categories_none),
        attributes=tuple(rules),
        exclude_item_ids=frozenset(message.exclude_item_ids),
    )


def _decode_rule(message: item_pb2.AttributeRule, field: str) -> AttributeRule:
    name = check_text(message.name, f"{field}.name", limits.MAX_ATTRIBUTE_NAME_BYTES, required=True)
    kind = message.WhichOneof("rule")
    if kind == "any_of":
        check_count(message.any_of.values, f"{field}.any_of", limits.MAX_CATEGORIES, minimum=1)
        return AttributeRule(name, any_of=tuple(message.any_of.values))
    if kind == "range":
        low = message.range.min if message.range.HasField("min") else None
        high = message.range.max if message.range.HasField("max") else None
        return AttributeRule(name, range=(low, high))
    if kind == "equals":
        return AttributeRule(name, equals=message.equals)
    raise InvalidField(field, "", "exactly one rule set", "set any_of, range or equals")


def encode_filter(item_filter: ItemFilter) -> item_pb2.ItemFilter:
    """Returns the message of a filter."""
    return item_pb2.ItemFilter(
        categories_any=sorted(item_filter.categories_any),
        categories_all=sorted(item_filter.categories_all),
        categories_none=sorted(item_filter.categories_none),
        attributes=[_encode_rule(rule) for rule in item_filter.attributes],
        exclude_item_ids=sorted(item_filter.exclude_item_ids),
    )


def _encode_rule(rule: AttributeRule) -> item_pb2.AttributeRule:
    if rule.any_of is not None:
        return item_pb2.AttributeRule(name=rule.name, any_of=item_pb2.StringList(values=rule.any_of))
    if rule.range is not None:
        low, high = rule.range
        return item_pb2.AttributeRule(name=rule.name, range=item_pb2.NumberRange(min=low, max=high))
    return item_pb2.AttributeRule(name=rule.name, equals=bool(rule.equals))


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


def encode_served_by(
    models: Mapping[str, str], stages: Iterable[StageTime], index_version: str = ""
) -> serving_pb2.ServedBy:
    """Returns who made a reply; the request id is that of the running call."""
    return serving_pb2.ServedBy(
        models=[serving_pb2.ModelVersion(kind=kind, version=version) for kind, version in models.items()],
        index_version=index_version,
        timings=[
            serving_pb2.StageTiming(stage=one.stage, queue_us=one.queue_us, compute_us=one.compute_us)
            for one in stages
        ],
        request_id=request_id(),
    )
