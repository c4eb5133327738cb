"""Event ids for events that come without one."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.data.nouns import Event

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def identified(event: Event, *, has_timestamp: bool) -> Event:
    """Returns the event with an id: its own, else derived from its content, else (no timestamp) random.

    Without a timestamp two equal events may be two real ones (two clicks), so they must not be taken for one.
    """
    if event.event_id:
        return event
    return replace(event, event_id=derived_id(event) if has_timestamp else uuid.uuid4().hex)


def derived_id(event: Event) -> str:
    """Returns the first 128 bits of SHA-256 over user, item, type, timestamp (microseconds), value and text, as hex.

    Stable for ever: files imported years apart must derive the same ids.
    """
    microseconds = (event.timestamp - _EPOCH) // timedelta(microseconds=1)
    value = "" if event.value is None else float(event.value).hex()
    parts = (event.user_id, event.item_id, str(int(event.type)), str(microseconds), value, event.text)
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode()
        # Lengths keep ("ab", "c") and ("a", "bc") apart.
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()[:32]
