"""The client side inside a service: channels that propagate deadlines, calls that raise domain errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import grpc
import grpc.aio
from fusionrec.channel import channel_options

from shared.rpc.propagation import propagation
from shared.rpc.status import error_from

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Awaitable

    from google.protobuf.message import Message

T = TypeVar("T", bound="Message")

NEIGHBOUR_ATTEMPTS = 2
"""Times that a service tries a call to a neighbour. The caller at the edge tries three times, and attempts multiply:
with three on every hop, client, ranker, candidates and embedding would make 27 of one call while embedding is down.
Not one, because a second attempt reaches the other replica while one drains: a rolling update degrades no answer and
ends no training job."""


def open_channel(address: str) -> grpc.aio.Channel:
    """Returns an asyncio channel to a neighbour: the client's channel plus deadline and request id propagation.

    It tries a call `NEIGHBOUR_ATTEMPTS` times.
    """
    return grpc.aio.insecure_channel(address, options=channel_options(NEIGHBOUR_ATTEMPTS), interceptors=propagation())


async def call(awaitable: Awaitable[T], component: str) -> T:
    """Awaits a unary call to `component`.

    Raises:
        FusionrecError: the neighbour's own refusal, or `DependencyUnavailable` when it did not answer.

    """
    try:
        return await awaitable
    except grpc.aio.AioRpcError as error:
        raise error_from(error, component) from error


async def stream(messages: AsyncIterable[T], component: str) -> AsyncGenerator[T]:
    """Yields the messages of a server stream of `component`; raises as `call` does. Closing it ends the call."""
    try:
        async for message in messages:
            yield message
    except grpc.aio.AioRpcError as error:
        raise error_from(error, component) from error
    finally:
        if isinstance(messages, grpc.aio.Call):
            messages.cancel()
