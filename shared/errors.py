"""The exception tree: every error that leaves a service is one of these.

FusionrecError
├── FieldError              a field is wrong; one of:
│   ├── InvalidField        it has a value that is never valid
│   └── LimitExceeded       a number, list or text is over its stated limit
├── NotFound                the named thing does not exist
├── ModelNotReady           nothing trained or loaded yet
├── ModelMismatch           models that would work together do not fit
├── Overloaded              queue or permits used up
├── DependencyUnavailable   a service this one needs does not answer
├── DeadlineExceeded        the caller's time ran out
├── NotServedYet            part of the contract, not served yet
├── CorruptData             stored data failed its checksum
├── StaleCursor             cursor of another log
└── ShuttingDown            the server is about to stop

`Reason` mirrors `fusionrec.common.v1.ErrorReason` (a test holds them together); the mapping to gRPC
status codes lives in `shared/rpc/status.py`. Messages are safe to show to a caller: never put an
exception's text, a path or another user's data in one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import ClassVar, Self

MAX_SHOWN_VALUE = 64
"""Characters of an offending value that an error shows."""


class Reason(IntEnum):
    """Why a call failed; the numbers of `fusionrec.common.v1.ErrorReason`."""

    INVALID_FIELD = 1
    LIMIT_EXCEEDED = 2
    NOT_FOUND = 3
    MODEL_NOT_READY = 4
    MODEL_MISMATCH = 5
    OVERLOADED = 6
    DEPENDENCY_UNAVAILABLE = 7
    DEADLINE_EXCEEDED = 8
    NOT_SERVED_YET = 9
    CORRUPT_DATA = 10
    SHUTTING_DOWN = 11
    INTERNAL = 12
    STALE_CURSOR = 13


@dataclass(frozen=True)
class Violation:
    """What is wrong with one field: its path, the value found, the limit it breaks, what to do."""

    field: str
    value: str
    limit: str
    hint: str
    reason: Reason = Reason.INVALID_FIELD

    def __str__(self) -> str:
        return f"{self.field} = {self.value!r} breaks the limit {self.limit}: {self.hint}"


def shown(value: object) -> str:
    """Returns `value` as text, cut to `MAX_SHOWN_VALUE` characters, control characters escaped."""
    text = str(value).encode("unicode_escape", "backslashreplace").decode("ascii")
    return text if len(text) <= MAX_SHOWN_VALUE else text[: MAX_SHOWN_VALUE - 1] + "…"


class FusionrecError(Exception):
    """Base of all errors that leave a service.

    `metadata` is sent in `google.rpc.ErrorInfo`; `retry_after_s` in `google.rpc.RetryInfo`.
    """

    reason: ClassVar[Reason] = Reason.INTERNAL

    def __init__(
        self, message: str, *, metadata: dict[str, str] | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = metadata or {}
        self.retry_after_s = retry_after_s


class FieldError(FusionrecError):
    """A field is wrong; raised as `InvalidField` or `LimitExceeded`."""

    def __init__(self, field: str, value: object, limit: str, hint: str) -> None:
        self._value = value
        self.violation = Violation(field, shown(value), limit, hint, self.reason)
        super().__init__(
            str(self.violation),
            metadata={"field": field, "value": self.violation.value, "limit": limit, "hint": hint},
        )

    def under(self, path: str) -> Self:
        """Returns the same error for the field below `path`: "item_id" under "events[3]" is "events[3].item_id".

        Decoders of list elements name fields relative to the element, so that no path is built for elements
        that are right.
        """
        own = self.violation
        # The value itself, not as shown: it would be escaped and cut a second time.
        return type(self)(f"{path}.{own.field}", self._value, own.limit, own.hint)


class InvalidField(FieldError):
    """A field has a value that is never valid."""

    reason = Reason.INVALID_FIELD


class LimitExceeded(FieldError):
    """A number, a list or a text is over its stated limit."""

    reason = Reason.LIMIT_EXCEEDED


class NotFound(FusionrecError):
    """The named item, report, model version, variant or space does not exist."""

    reason = Reason.NOT_FOUND


class ModelNotReady(FusionrecError):
    """No model of the needed kind has been trained or loaded yet."""

    reason = Reason.MODEL_NOT_READY


class ModelMismatch(FusionrecError):
    """Models that would have to work together do not fit."""

    reason = Reason.MODEL_MISMATCH


class Overloaded(FusionrecError):
    """The queue or the permits of this server are used up."""

    reason = Reason.OVERLOADED

    def __init__(self, message: str, *, retry_after_s: float = 0.5) -> None:
        super().__init__(message, retry_after_s=retry_after_s)


class DependencyUnavailable(FusionrecError):
    """A service that this one needs does not answer."""

    reason = Reason.DEPENDENCY_UNAVAILABLE

    def __init__(self, component: str, detail: str) -> None:
        super().__init__(f"{component} does not answer: {detail}", metadata={"component": component})
        self.component = component


class DeadlineExceeded(FusionrecError):
    """The time given by the caller ran out before the work was done."""

    reason = Reason.DEADLINE_EXCEEDED


class NotServedYet(FusionrecError):
    """The RPC is part of the contract and not served yet."""

    reason = Reason.NOT_SERVED_YET

    def __init__(self, rpc: str, waits_for: str) -> None:
        super().__init__(
            f"{rpc} is not served yet: it waits for {waits_for}", metadata={"rpc": rpc, "waits_for": waits_for}
        )


class CorruptData(FusionrecError):
    """Stored data failed its checksum."""

    reason = Reason.CORRUPT_DATA


class StaleCursor(FusionrecError):
    """The cursor or token belongs to another log."""

    reason = Reason.STALE_CURSOR


class ShuttingDown(FusionrecError):
    """The server is about to stop."""

    reason = Reason.SHUTTING_DOWN
