"""Services inside the test's own process: a real server on a real port, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.rpc.client import open_channel
from shared.rpc.server import READINESS, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import grpc.aio

    from shared.rpc.server import Lifecycle, ServiceApp
    from shared.rpc.settings import ServerSettings


@dataclass(frozen=True)
class Served:
    """A running service: its address, an open channel to it, and its lifecycle."""

    address: str
    channel: grpc.aio.Channel
    lifecycle: Lifecycle


async def health_status(channel: grpc.aio.Channel, service: str = READINESS) -> str:
    """Returns the health service's answer for `service`: "SERVING", "NOT_SERVING"."""
    stub = health_pb2_grpc.HealthStub(channel)
    # gRPC shares connections, and their backoff, among the channels of a process: a test that just saw this port
    # refuse would see it again.
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=10, wait_for_ready=True)
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


async def wait_health(
    channel: grpc.aio.Channel, status: str = "SERVING", service: str = READINESS, timeout_s: float = 60.0
) -> None:
    """Waits until health says `status`.

    Raises:
        TimeoutError: it does not within `timeout_s` seconds, or the server stops.

    """
    wanted = health_pb2.HealthCheckResponse.ServingStatus.Value(status)
    watch = health_pb2_grpc.HealthStub(channel).Watch(
        health_pb2.HealthCheckRequest(service=service), wait_for_ready=True
    )
    async with asyncio.timeout(timeout_s):
        async for answer in watch:
            if answer.status == wanted:
                watch.cancel()
                return
    raise TimeoutError(f"the server ended before it said {status}")


@contextlib.asynccontextmanager
async def served(
    app: ServiceApp, settings: ServerSettings, service: str, *, ready: bool = True
) -> AsyncIterator[Served]:
    """Runs a service on the port of its settings (0 in tests); yields when it is SERVING.

    With `ready=False` it yields as soon as the service listens: for services that stay NOT_SERVING.
    """
    async with running(app, settings, service) as (address, lifecycle), open_channel(address) as channel:
        if ready:
            await wait_health(channel)
        yield Served(address, channel, lifecycle)
