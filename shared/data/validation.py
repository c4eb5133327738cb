"""Checks of single values against the limits. Each raises an error that names field, value, limit and remedy."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from shared.data import limits
from shared.errors import InvalidField, LimitExceeded

if TYPE_CHECKING:
    from collections.abc import Sized

CONTROL_HINT = "remove control characters"

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
"""All of Unicode's category Cc. Not `str.isprintable`, which also refuses the spaces U+00A0 and U+3000."""


def check_id(value: str, field: str, *, required: bool = True) -> str:
    """Returns an id of 1 to 256 bytes of UTF-8 without control characters.

    Raises:
        InvalidField: empty though required, or with control characters.
        LimitExceeded: too long.

    """
    if not value:
        if required:
            raise InvalidField(field, value, f"1..{limits.MAX_ID_BYTES} bytes", "set it to a non-empty id")
        return value
    if len(value) > limits.MAX_ID_BYTES or len(value.encode()) > limits.MAX_ID_BYTES:
        hint = f"it has {len(value.encode())} bytes; use a shorter id, for example a hash of it"
        raise LimitExceeded(field, value, f"1..{limits.MAX_ID_BYTES} bytes", hint)
    # `isprintable` first: it is quicker, and true of nearly all ids.
    if not value.isprintable() and _CONTROL.search(value):
        raise InvalidField(field, value, "no control characters", CONTROL_HINT)
    return value


def check_text(value: str, field: str, max_bytes: int, *, required: bool = False) -> str:
    """Returns a text of at most `max_bytes` bytes of UTF-8.

    Raises:
        InvalidField: empty though required.
        LimitExceeded: too long.

    """
    if required and not value.strip():
        raise InvalidField(field, value, f"1..{max_bytes} bytes", "set it to a non-empty text")
    if len(value) * 4 > max_bytes and len(value.encode()) > max_bytes:
        raise LimitExceeded(field, value, f"{max_bytes} bytes", f"it has {len(value.encode())} bytes; shorten it")
    return value


def check_count(values: Sized, field: str, maximum: int, *, minimum: int = 0) -> None:
    """Checks the length of a list.

    Raises:
        InvalidField: too few.
        LimitExceeded: too many.

    """
    count = len(values)
    if count < minimum:
        raise InvalidField(field, f"{count} elements", f"{minimum}..{maximum} elements", "send at least one")
    if count > maximum:
        hint = "send fewer, in several calls where needed"
        raise LimitExceeded(field, f"{count} elements", f"{minimum}..{maximum} elements", hint)


def check_int(value: int, field: str, minimum: int, maximum: int, *, zero_means: int | None = None) -> int:
    """Returns an integer in [minimum, maximum]; 0 is replaced by `zero_means` when that is given.

    Raises:
        InvalidField: below the minimum.
        LimitExceeded: above the maximum.

    """
    if value == 0 and zero_means is not None:
        return zero_means
    limit = f"{minimum}..{maximum}"
    if value < minimum:
        raise InvalidField(field, value, limit, f"use a value from {minimum} to {maximum}")
    if value > maximum:
        raise LimitExceeded(field, value, limit, f"use a value from {minimum} to {maximum}")
    return value


def check_number(value: float, field: str, minimum: float, maximum: float) -> float:
    """Returns a finite number in [minimum, maximum].

    Raises:
        InvalidField: NaN, infinite or out of range.

    """
    if not math.isfinite(value) or not minimum <= value <= maximum:
        limit = f"{minimum:g}..{maximum:g}"
        raise InvalidField(field, value, limit, "use a finite number in that range")
    return value


def check_timestamp(value: datetime, field: str) -> datetime:
    """Returns a time from 1990-01-01 to one day in the future.

    Raises:
        InvalidField: outside of that; seconds and milliseconds are easily confused.

    """
    latest = datetime.now(UTC) + limits.MAX_FUTURE
    if not limits.OLDEST_TIMESTAMP <= value <= latest:
        limit = f"{limits.OLDEST_TIMESTAMP:%Y-%m-%d}..now + 1 day"
        raise InvalidField(field, value.isoformat(), limit, "send UTC; check seconds against milliseconds")
    return value
