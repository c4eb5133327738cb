"""The health service (`grpc.health.v1`). Unlike grpcio's, it is born empty, and its watchers end with the server.

grpcio's servicer says SERVING before anything is loaded, and its `Watch` never returns: with one watcher, every drain
would take the whole grace period.
"""
# ruff: noqa: N802 (the methods have the contract's names)

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from typing import TypeAlias

    Status: TypeAlias = health_pb2.HealthCheckResponse.ServingStatus


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc] # grpc_health has no types
    """Answers for the names that were set; each watcher sees the last status before the end."""

    def __init__(self) -> None:
        self._statuses: dict[str, Status] = {}
        self._changed = asyncio.Event()
        self._closed = False

    def set(self, name: str, status: Status) -> None:
        """Sets the status of `name`; nothing changes after `close`."""
        if not self._closed:
            self._statuses[name] = status
            self._wake()

    def close(self) -> None:
        """Freezes what is said, and ends the watchers once they have heard it."""
        self._closed = True
        self._wake()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> health_pb2.HealthCheckResponse:
        """Answers with the status of a name; NOT_FOUND when it was never set."""
        status = self._statuses.get(request.service)
        if status is None:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no service of that name")
        return health_pb2.HealthCheckResponse(status=status)

    async def Watch(
        self,
        request: health_pb2.HealthCheckRequest,
        context: grpc.aio.ServicerContext[Any, Any],  # noqa: ARG002 (gRPC's signature)
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        """Sends the status of a name now and at every change."""
        last = None
        while True:
            # Taken before the status is read: a change while a message is sent is not missed.
            changed = self._changed
            status = self._statuses.get(request.service, health_pb2.HealthCheckResponse.SERVICE_UNKNOWN)
            if status != last:
                last = status
                yield health_pb2.HealthCheckResponse(status=status)
            elif self._closed:
                return
            else:
                await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
