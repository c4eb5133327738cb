"""The server's interceptor: request id, deadline, admission, metrics and errors around every call.

One interceptor, because their order matters and is easiest to read in one place. Health and reflection
pass untouched: a full server must still be able to say that it is healthy.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, NoReturn

import grpc
import grpc.aio
import structlog

from shared import errors
from shared.rpc import context as call_context
from shared.rpc.handlers import wrap
from shared.rpc.status import DETAILS_KEY, STATUS_OF_REASON, status_of
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from shared.rpc.handlers import Context, Handler

log = structlog.get_logger(__name__)

EXEMPT_PREFIXES = ("/grpc.health.v1.", "/grpc.reflection.")


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Puts every call into a frame: see the module's text.

    `max_concurrent` unary calls run at once; more are refused with RESOURCE_EXHAUSTED (reason OVERLOADED).
    Streams have permits of their own (`max_streams`): a follower holds one for hours.
    """

    def __init__(self, service: str, *, max_concurrent: int, max_streams: int, default_timeout_s: float) -> None:
        self._service = service
        self._default_timeout_s = default_timeout_s
        self._limits = {False: max_concurrent, True: max_streams}
        self._running = {False: 0, True: 0}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(EXEMPT_PREFIXES):
            return handler
        streaming = bool(handler.request_streaming or handler.response_streaming)

        @asynccontextmanager
        async def around(context: Context) -> AsyncIterator[None]:
            async with self._call(context, method, streaming=streaming):
                yield

        return wrap(handler, around)

    @asynccontextmanager
    async def _call(self, context: Context, method: str, *, streaming: bool) -> AsyncIterator[None]:
        given = dict(context.invocation_metadata() or ()).get(call_context.REQUEST_ID_KEY)
        request_id = call_context.set_request_id(given if isinstance(given, str) else None)
        left = context.time_remaining()
        call_context.set_deadline(left if left is not None or streaming else self._default_timeout_s)
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        admitted = False
        try:
            self._admit(streaming=streaming)
            admitted = True
            with structlog.contextvars.bound_contextvars(request_id=request_id, method=method):
                yield
        except errors.FusionrecError as error:
            code = STATUS_OF_REASON[error.reason]
            await _refuse(context, error, request_id)
        except (asyncio.CancelledError, GeneratorExit):
            code = grpc.StatusCode.CANCELLED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("call failed", method=method, request_id=request_id)
            hidden = errors.FusionrecError(f"internal error; the server's log has it under request id {request_id}")
            await _refuse(context, hidden, request_id)
        finally:
            if admitted:
                self._running[streaming] -= 1
            metrics.RPC_SECONDS.labels(self._service, method, code.name).observe(time.perf_counter() - started)

    def _admit(self, *, streaming: bool) -> None:
        limit = self._limits[streaming]
        if self._running[streaming] >= limit:
            what = "streams" if streaming else "calls"
            raise errors.Overloaded(f"{self._service} runs {limit} {what} already, its limit; retry later")
        self._running[streaming] += 1


async def _refuse(context: Context, error: errors.FusionrecError, request_id: str) -> NoReturn:
    status = status_of(error, request_id)
    metadata = ((DETAILS_KEY, status.SerializeToString()), (call_context.REQUEST_ID_KEY, request_id))
    await context.abort(STATUS_OF_REASON[error.reason], error.message, metadata)


class PropagationInterceptor(
    grpc.aio.UnaryUnaryClientInterceptor,  # type: ignore[type-arg]
    grpc.aio.UnaryStreamClientInterceptor,  # type: ignore[type-arg]
):
    """A client's interceptor: hands the running call's deadline and request id to the next hop.

    gRPC does not do this in Python. The time given on is min(what is left - `margin_s`, the call's own timeout),
    so that this server can still answer when the next one runs out of time.
    """

    def __init__(self, margin_s: float = 0.005) -> None:
        self._margin_s = margin_s

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Hands on deadline and request id."""
        return await continuation(self._with_context(client_call_details), request)

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        """Hands on deadline and request id."""
        return await continuation(self._with_context(client_call_details), request)

    def _with_context(self, details: grpc.aio.ClientCallDetails) -> grpc.aio.ClientCallDetails:
        timeout = details.timeout
        left = call_context.seconds_left()
        if left is not None:
            left = max(left - self._margin_s, 0.0)
            timeout = left if timeout is None else min(timeout, left)
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        request_id = call_context.request_id()
        if request_id:
            metadata[call_context.REQUEST_ID_KEY] = request_id
        return grpc.aio.ClientCallDetails(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready
        )
