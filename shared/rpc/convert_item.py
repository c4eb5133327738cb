"""Items, their attributes and filters on them, protobuf to domain and back."""

from __future__ import annotations

from datetime import datetime

from fusionrec.common.v1 import item_pb2

from shared.data import limits
from shared.data.nouns import AttributeRule, AttributeValue, Item, ItemFilter
from shared.data.validation import check_count, check_id, check_number, check_text
from shared.errors import InvalidField, LimitExceeded
from shared.rpc.convert_basic import decode_time, decode_vector, encode_time, encode_vector


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
        InvalidField, LimitExceeded: a list is over its limit, or a rule is empty or cannot hold.

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
        return AttributeRule(name, range=_decode_range(message.range, f"{field}.range"))
    if kind == "equals":
        return AttributeRule(name, equals=message.equals)
    raise InvalidField(field, "", "exactly one rule set", "set any_of, range or equals")


def _decode_range(message: item_pb2.NumberRange, field: str) -> tuple[float | None, float | None]:
    low = check_number(message.min, f"{field}.min", -1e300, 1e300) if message.HasField("min") else None
    high = check_number(message.max, f"{field}.max", -1e300, 1e300) if message.HasField("max") else None
    if low is not None and high is not None and low > high:
        raise InvalidField(field, f"{low:g}..{high:g}", "min <= max", "swap or fix the two ends")
    return low, high


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
