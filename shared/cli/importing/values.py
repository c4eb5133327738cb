"""Single values of a file as values of the contract. What a field may contain is the server's to check."""

from __future__ import annotations

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from shared.data.nouns import AttributeValue, EventType
from shared.errors import shown

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MILLISECONDS_FROM = 1e11
"""A bare number from this size on is milliseconds: as seconds it would be the year 5138, as milliseconds it is 1973."""
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")
_PLAIN_NUMBER = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?")
"""What counts as a number in an attribute of a CSV file: not "007", which is more of a code, nor 20 digits."""
TRUTH = {"true": True, "false": False}


class BadValue(ValueError):
    """A value that cannot be understood; the text names column and value and says what would be."""


def as_text(value: Any, column: str) -> str:
    """Returns a text; None is empty. A whole number is written without a fraction.

    Raises:
        BadValue: not a text or a whole number, or not UTF-8.

    """
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise BadValue(f"{column} = {shown(value)!r} is not a text")
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise BadValue(f"{column} = {shown(value)!r} is not UTF-8") from error
    return value


def as_number(value: Any, column: str) -> float | None:
    """Returns a number; None for an empty value.

    Raises:
        BadValue: not a number.

    """
    if value is None or value == "":
        return None
    try:
        # float() would take "1_000" and True.
        number = None if isinstance(value, bool) or "_" in str(value) else float(value)
    except (ValueError, TypeError, OverflowError):
        number = None
    if number is None:
        raise BadValue(f"{column} = {shown(value)!r} is not a number")
    return number


def as_time(value: Any, column: str) -> datetime | None:
    """Returns a point in time, UTC; None for an empty value.

    A bare number is Unix time: seconds, or milliseconds from `MILLISECONDS_FROM` on. Anything else is ISO 8601;
    without a zone it is UTC.

    Raises:
        BadValue: neither.

    """
    if value is None or value == "":
        return None
    try:
        time = _time(value)
    except (ValueError, OverflowError):
        time = None
    if time is None:
        raise BadValue(f"{column} = {shown(value)!r} is not a time: use ISO 8601, or Unix seconds or milliseconds")
    return time


def _time(value: Any) -> datetime | None:
    if isinstance(value, str):
        value = value.strip()
        value = float(value) if _NUMBER.fullmatch(value) else datetime.fromisoformat(value)
    if isinstance(value, date) and not isinstance(value, datetime):
        value = datetime(value.year, value.month, value.day, tzinfo=UTC)
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return _EPOCH + timedelta(milliseconds=value if abs(value) >= MILLISECONDS_FROM else value * 1000)


def as_event_type(value: Any, column: str) -> EventType | None:
    """Returns an event type by name, in any case ("add to cart" is ADD_TO_CART); None for an empty value.

    Raises:
        BadValue: no such type.

    """
    if value is None or value == "":
        return None
    name = re.sub(r"[\s-]+", "_", str(value).strip()).upper().removeprefix("EVENT_TYPE_")
    if name not in EventType.__members__:
        names = ", ".join(EventType.__members__)
        raise BadValue(f"{column} = {shown(value)!r} is not an event type: use one of {names}")
    return EventType[name]


def as_list(value: Any, column: str) -> list[str]:
    """Returns a list of texts: a list as it is, a text split at "|", blanks around the parts removed.

    Raises:
        BadValue: neither, or an element is not a text.

    """
    if isinstance(value, list | tuple):
        return [as_text(part, column) for part in value]
    return [part.strip() for part in as_text(value, column).split("|") if part.strip()]


def as_attribute(value: Any, column: str, *, typed: bool) -> AttributeValue | None:
    """Returns an attribute's value; None when there is none.

    In an untyped file "1995" is a number and "true" a truth value; everything else is a text.

    Raises:
        BadValue: not a text, number, truth value, time, or list of texts.

    """
    if value is None or value == "":
        return None
    if isinstance(value, str):
        return as_text(value, column) if typed else _recognised(as_text(value, column))
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return as_number(value, column)
    if isinstance(value, date):
        return as_time(value, column)
    if isinstance(value, list | tuple):
        return tuple(as_list(value, column))
    raise BadValue(f"{column} = {shown(value)!r} is not a text, number, truth value, time or list of texts")


def _recognised(value: str) -> AttributeValue:
    if _PLAIN_NUMBER.fullmatch(value):
        return float(value)
    return TRUTH.get(value.lower(), value)
