"""One mapping between the exception tree and gRPC status + `google.rpc` details, both ways."""

from __future__ import annotations

from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc import error_details_pb2, status_pb2

from shared import errors
from shared.errors import FusionrecError, Reason

DOMAIN = "fusionrec"
DETAILS_KEY = "grpc-status-details-bin"

STATUS_OF_REASON: dict[Reason, grpc.StatusCode] = {
    Reason.INVALID_FIELD: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.LIMIT_EXCEEDED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    Reason.MODEL_NOT_READY: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.MODEL_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.OVERLOADED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.DEPENDENCY_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.DEADLINE_EXCEEDED: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.NOT_SERVED_YET: grpc.StatusCode.UNIMPLEMENTED,
    Reason.CORRUPT_DATA: grpc.StatusCode.DATA_LOSS,
    Reason.SHUTTING_DOWN: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
    Reason.STALE_CURSOR: grpc.StatusCode.ABORTED,
}


def status_of(error: FusionrecError, request_id: str) -> status_pb2.Status:
    """Returns the rich status of an error: ErrorInfo always, BadRequest for fields, RetryInfo when it says so."""
    status = status_pb2.Status(code=STATUS_OF_REASON[error.reason].value[0], message=error.message)
    info = error_details_pb2.ErrorInfo(
        reason=error.reason.name, domain=DOMAIN, metadata={**error.metadata, "request_id": request_id}
    )
    status.details.add().Pack(info)
    violation = getattr(error, "violation", None)
    if isinstance(violation, errors.Violation):
        bad = error_details_pb2.BadRequest()
        bad.field_violations.add(field=violation.field, description=str(violation), reason=violation.reason.name)
        status.details.add().Pack(bad)
    if error.retry_after_s is not None:
        delay = Duration()
        delay.FromNanoseconds(int(error.retry_after_s * 1e9))
        status.details.add().Pack(error_details_pb2.RetryInfo(retry_delay=delay))
    return status


def error_info(error: grpc.RpcError) -> error_details_pb2.ErrorInfo | None:
    """Returns the ErrorInfo that a failed call carries, or None (a failure below our servers)."""
    for key, value in _trailing(error):
        if key == DETAILS_KEY and isinstance(value, bytes):
            status = status_pb2.Status.FromString(value)
            for detail in status.details:
                info = error_details_pb2.ErrorInfo()
                if detail.Unpack(info):
                    return info
    return None


def error_from(error: grpc.RpcError, component: str) -> FusionrecError:
    """Returns the domain error for a failed call to `component`.

    A neighbour's refusal of our request comes back as the same kind of error; everything that means
    "it did not answer" becomes `DependencyUnavailable`.
    """
    info = error_info(error)
    code = error.code()
    details = error.details() or code.name
    reason = Reason[info.reason] if info is not None and info.reason in Reason.__members__ else None
    if reason in (Reason.INVALID_FIELD, Reason.LIMIT_EXCEEDED) and info is not None:
        kind = errors.InvalidField if reason is Reason.INVALID_FIELD else errors.LimitExceeded
        meta = info.metadata
        return kind(meta.get("field", ""), meta.get("value", ""), meta.get("limit", ""), meta.get("hint", details))
    plain = _PLAIN.get(reason) if reason is not None else None
    if plain is not None:
        return plain(details)
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DependencyUnavailable(component, "its time ran out")
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
        return errors.DependencyUnavailable(component, "it is overloaded")
    if code is grpc.StatusCode.UNAVAILABLE:
        return errors.DependencyUnavailable(component, "not reachable")
    return errors.DependencyUnavailable(component, code.name)


_PLAIN: dict[Reason, type[FusionrecError]] = {
    Reason.NOT_FOUND: errors.NotFound,
    Reason.MODEL_NOT_READY: errors.ModelNotReady,
    Reason.MODEL_MISMATCH: errors.ModelMismatch,
    Reason.CORRUPT_DATA: errors.CorruptData,
    Reason.STALE_CURSOR: errors.StaleCursor,
}


def _trailing(error: grpc.RpcError) -> list[tuple[str, str | bytes]]:
    metadata: Any = error.trailing_metadata()  # pairs, or None when the call failed before it left
    return [(str(key), value) for key, value in metadata or ()]
