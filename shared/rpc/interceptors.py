"""The server's interceptor: request id, deadline, admission, metrics and errors around every call.

One interceptor, because their order matters and is easiest to read in one place. Health and reflection
pass untouched: a full server must still be able to say that it is healthy.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, NoReturn

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
    from contextlib import AbstractAsyncContextManager

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
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        """Wraps the handler of one call."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith(EXEMPT_PREFIXES):
            return handler
        streaming = bool(handler.request_streaming or handler.response_streaming)

        def around(context: Context) -> AbstractAsyncContextManager[None]:
            return self._call(context, method, streaming=streaming)

        return wrap(handler, around)

    @asynccontextmanager
    async def _call(self, context: Context, method: str, *, streaming: bool) -> AsyncIterator[None]:
        given = dict(context.invocation_metadata() or ()).get(call_context.REQUEST_ID_KEY)
        request_id = call_context.set_request_id(given if isinstance(given, str) else None)
        # Never reset: every call runs in a task, and so in a context, of its own.
        structlog.contextvars.bind_contextvars(request_id=request_id, method=method)
        started = time.perf_counter()
        code = grpc.StatusCode.OK
        admitted = False
        try:
            self._admit(streaming=streaming)
            admitted = True
            async with self._deadline(context, streaming=streaming):
                yield
        except errors.FusionrecError as error:
            code = STATUS_OF_REASON[error.reason]
            if error.reason is errors.Reason.INTERNAL:
                log.exception("call failed")
                error = _hidden(request_id)
            await _refuse(context, error, request_id)
        except (asyncio.CancelledError, GeneratorExit):
            # The caller has left, or its time is over: nobody is there to be answered.
            left = call_context.seconds_left()
            code = grpc.StatusCode.CANCELLED if left is None or left > 0 else grpc.StatusCode.DEADLINE_EXCEEDED
            raise
        except Exception:
            code = grpc.StatusCode.INTERNAL
            log.exception("call failed")
            await _refuse(context, _hidden(request_id), request_id)
        finally:
            if admitted:
                self._running[streaming] -= 1
            metrics.RPC_SECONDS.labels(self._service, method, code.name).observe(time.perf_counter() - started)

    @asynccontextmanager
    async def _deadline(self, context: Context, *, streaming: bool) -> AsyncIterator[None]:
        """Notes the caller's deadline, which the runtime enforces, or sets and enforces the default one."""
        left = context.time_remaining()
        if left is not None or streaming:
            call_context.set_deadline(left)
            yield
            return
        call_context.set_deadline(self._default_timeout_s)
        try:
            async with asyncio.timeout(self._default_timeout_s) as timer:
                yield
        except TimeoutError as error:
            if not timer.expired():
                raise
            limit = f"{self._default_timeout_s:g} s, this server's default for calls without a deadline"
            raise errors.DeadlineExceeded(f"not done within {limit}; set a deadline") from error

    def _admit(self, *, streaming: bool) -> None:
        limit = self._limits[streaming]
        if self._running[streaming] >= limit:
            what = "streams" if streaming else "calls"
            raise errors.Overloaded(f"{self._service} runs {limit} {what} already, its limit; retry later")
        self._running[streaming] += 1


def _hidden(request_id: str) -> errors.FusionrecError:
    return errors.FusionrecError(f"internal error; the server's log has it under request id {request_id}")


async def _refuse(context: Context, error: errors.FusionrecError, request_id: str) -> NoReturn:
    status = status_of(error, request_id)
    metadata = ((DETAILS_KEY, status.SerializeToString()), (call_context.REQUEST_ID_KEY, request_id))
    await context.abort(STATUS_OF_REASON[error.reason], error.message, metadata)
