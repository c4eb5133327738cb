"""Wraps a gRPC method handler of any of the four kinds with one async "around" function.

Interceptors in grpc.aio see a handler object, not the call; every concern (errors, deadline, admission,
metrics) would otherwise repeat the same four-way case.
"""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc
from google.protobuf.message import DecodeError

from shared.errors import InvalidField

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    Context = grpc.aio.ServicerContext[Any, Any]
    Handler = grpc.RpcMethodHandler[Any, Any]
    Around = Callable[[Context], AbstractAsyncContextManager[None]]


class _Malformed:
    """Stands for a request that could not be decoded, until a handler's frame can refuse it properly."""

    def __init__(self, size: int) -> None:
        self.size = size


def wrap(handler: Handler, around: Around) -> Handler:
    """Returns `handler` with its behaviour run inside `async with around(context)`.

    Handlers that stream are async generators; they stay inside for the whole iteration, so that what is raised
    between two messages is seen as well. A request that is not a valid message (broken bytes, invalid UTF-8) raises
    `InvalidField` inside; left to the runtime it would be INTERNAL, which blames the server.
    """
    decode = _tolerant(handler.request_deserializer)
    check = _checked_stream if handler.request_streaming else _checked

    if handler.response_streaming:
        inner_stream: Any = handler.stream_stream if handler.request_streaming else handler.unary_stream

        async def stream(request: Any, context: Context) -> AsyncIterator[Any]:
            # Closed at once when the caller leaves, not when the collector comes by: its permit is waited for.
            async with around(context), aclosing(inner_stream(check(request), context)) as messages:
                async for message in messages:
                    yield message

        if handler.request_streaming:
            return grpc.stream_stream_rpc_method_handler(stream, decode, handler.response_serializer)
        return grpc.unary_stream_rpc_method_handler(stream, decode, handler.response_serializer)

    inner_unary: Any = handler.stream_unary if handler.request_streaming else handler.unary_unary

    async def unary(request: Any, context: Context) -> Any:
        async with around(context):
            return await inner_unary(check(request), context)

    if handler.request_streaming:
        return grpc.stream_unary_rpc_method_handler(unary, decode, handler.response_serializer)
    return grpc.unary_unary_rpc_method_handler(unary, decode, handler.response_serializer)


def _tolerant(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if decode is None:
        return None

    def tolerant(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _Malformed(len(data))

    return tolerant


def _checked(request: Any) -> Any:
    if isinstance(request, _Malformed):
        hint = "send a message of the documented type, all strings valid UTF-8"
        raise InvalidField("request", f"{request.size} bytes", "a valid protobuf message", hint)
    return request


async def _checked_stream(requests: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for request in requests:
        yield _checked(request)
