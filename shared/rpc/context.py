"""What travels with a call in ContextVars: its deadline, its request id, whether somebody still waits."""

from __future__ import annotations

import re
import time
import uuid
from contextvars import ContextVar

REQUEST_ID_KEY = "x-request-id"
_SAFE_ID = re.compile(r"[A-Za-z0-9._:/-]{1,128}")

_deadline: ContextVar[float | None] = ContextVar("fusionrec_deadline", default=None)
_request_id: ContextVar[str] = ContextVar("fusionrec_request_id", default="")


def set_deadline(seconds_left: float | None) -> None:
    """Notes that the running call has `seconds_left` seconds; None for no deadline."""
    _deadline.set(None if seconds_left is None else time.monotonic() + seconds_left)


def seconds_left() -> float | None:
    """Returns the seconds left of the running call; None when it has no deadline. May be negative."""
    deadline = _deadline.get()
    return None if deadline is None else deadline - time.monotonic()


def set_request_id(given: str | None) -> str:
    """Notes the caller's request id, or a new one when it is absent or not plain ASCII; returns it."""
    request_id = given if given and _SAFE_ID.fullmatch(given) else uuid.uuid4().hex
    _request_id.set(request_id)
    return request_id


def request_id() -> str:
    """Returns the id of the running call; empty outside of one."""
    return _request_id.get()
