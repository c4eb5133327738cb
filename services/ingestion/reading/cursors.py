"""Cursors and page tokens: opaque to clients, checked when they come back."""

from __future__ import annotations

import base64
import binascii
import re

from shared.data.validation import check_id
from shared.errors import FusionrecError, InvalidField, StaleCursor

_CURSOR = re.compile(r"1\.([0-9a-f]{16})\.(0|[1-9][0-9]{0,17})")
_PAGE_PREFIX = "p."


def encode_cursor(log_id: str, sequence: int) -> str:
    """Returns the cursor after record `sequence` of the log `log_id`."""
    return _encode(f"1.{log_id}.{sequence}")


def decode_cursor(cursor: str, log_id: str, end: int, field: str = "cursor") -> int:
    """Returns the position of a cursor; empty means the start.

    Raises:
        InvalidField: not a cursor.
        StaleCursor: a cursor of another log, or beyond the end of this one (it was restored from a backup).

    """
    if not cursor:
        return 0
    match = _CURSOR.fullmatch(_decode(cursor) or "")
    if match is None:
        raise InvalidField(field, cursor, "a cursor of an earlier answer, or empty", "leave it empty to begin anew")
    if match[1] != log_id:
        raise StaleCursor("the cursor belongs to another log; read from the start")
    position = int(match[2])
    if position > end:
        raise StaleCursor("the cursor is beyond the end of the log; read from the start")
    return position


def known_position(cursor: str, log_id: str, end: int) -> int | None:
    """Returns the position of a cursor that says what the caller knows; None when it knows nothing of this log.

    Raises:
        InvalidField: not a cursor.

    """
    if not cursor:
        return None
    try:
        return decode_cursor(cursor, log_id, end, "known_cursor")
    except StaleCursor:
        return None


def encode_page_token(last_item_id: str) -> str:
    """Returns the token of the page after `last_item_id`."""
    return _encode(_PAGE_PREFIX + last_item_id)


def decode_page_token(token: str) -> str:
    """Returns the last item id of the page before; "" for the first page.

    Raises:
        InvalidField: not a page token.

    """
    if not token:
        return ""
    text = _decode(token) or ""
    try:
        if text.startswith(_PAGE_PREFIX):
            return check_id(text.removeprefix(_PAGE_PREFIX), "page_token")
    except FusionrecError:
        # Whatever is wrong inside of it, to the client it is the token that is wrong.
        text = ""
    hint = "leave it empty to begin anew"
    raise InvalidField("page_token", token, "next_page_token of the page before, or empty", hint)


def _encode(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def _decode(token: str) -> str | None:
    try:
        return base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        return None
