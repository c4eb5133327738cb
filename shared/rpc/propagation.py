"""Hands the running call's deadline and request id to the next hop. gRPC does not do this in Python."""

from __future__ import annotations

from typing import Any

import grpc.aio

from shared.rpc import context as call_context

MARGIN_S = 0.005
"""Least time kept back, seconds, so that this server can still answer when the next one runs out of time."""
MARGIN_SHARE = 0.01
"""Least share of the time left that is kept back: gRPC rounds a deadline on the wire up by as much as that."""


def propagation(margin_s: float = MARGIN_S) -> list[grpc.aio.ClientInterceptor]:
    """Returns a channel's interceptors: one of each kind, because grpc.aio files one object under one kind only."""
    return [_UnaryUnary(margin_s), _UnaryStream(margin_s), _StreamUnary(margin_s), _StreamStream(margin_s)]


class _Propagation:
    """The time given on is min(what is left - margin, the call's own timeout)."""

    def __init__(self, margin_s: float) -> None:
        self._margin_s = margin_s

    async def _hand_on(self, continuation: Any, details: grpc.aio.ClientCallDetails, request: Any) -> Any:
        timeout = details.timeout
        left = call_context.seconds_left()
        if left is not None:
            left = max(left - max(self._margin_s, MARGIN_SHARE * left), 0.0)
            timeout = left if timeout is None else min(timeout, left)
        metadata = grpc.aio.Metadata(*(details.metadata or ()))
        request_id = call_context.request_id()
        if request_id and metadata.get(call_context.REQUEST_ID_KEY) is None:
            metadata[call_context.REQUEST_ID_KEY] = request_id
        handed = grpc.aio.ClientCallDetails(
            details.method, timeout, metadata, details.credentials, details.wait_for_ready
        )
        return await continuation(handed, request)


class _UnaryUnary(_Propagation, grpc.aio.UnaryUnaryClientInterceptor):
    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._hand_on(continuation, client_call_details, request)


class _UnaryStream(_Propagation, grpc.aio.UnaryStreamClientInterceptor):
    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await self._hand_on(continuation, client_call_details, request)


class _StreamUnary(_Propagation, grpc.aio.StreamUnaryClientInterceptor):
    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._hand_on(continuation, client_call_details, request_iterator)


class _StreamStream(_Propagation, grpc.aio.StreamStreamClientInterceptor):
    async def intercept_stream_stream(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await self._hand_on(continuation, client_call_details, request_iterator)
