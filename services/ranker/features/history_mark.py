"""What tells whether a history is still the same, without keeping it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.data.nouns import HistoryEvent


@dataclass(frozen=True, slots=True)
class HistoryMark:
    """Stands for a history: its length, and a digest of 16 bytes of all that is in it."""

    length: int
    digest: bytes

    @classmethod
    def of(cls, history: Sequence[HistoryEvent]) -> HistoryMark:
        """Returns the mark of a history."""
        events = [(one.item_id, one.type, one.timestamp.timestamp(), one.value, one.text) for one in history]
        return cls(len(history), hashlib.blake2b(json.dumps(events).encode(), digest_size=16).digest())
