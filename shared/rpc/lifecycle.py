"""What a running service says of itself: readiness, liveness, whether it is about to stop."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.rpc.health import HealthService
from shared.telemetry import metrics

if TYPE_CHECKING:
    import grpc.aio

log = structlog.get_logger(__name__)

READINESS = ""
"""Health service name that says whether calls are answered as they should be."""
LIVENESS = "liveness"
"""Health service name that says that the process is up, trained or not."""


@dataclass
class Lifecycle:
    """What a running service and its runner tell each other.

    The service calls `ready` and `not_ready`; the runner sets `stopping` before it drains, so that endless
    streams can end.
    """

    service: str
    names: tuple[str, ...] = ()
    """Full names of the gRPC services: each has the same status as `READINESS`."""
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "starting"
    """Why the service is not SERVING; empty while it is."""

    def __post_init__(self) -> None:
        self._health = HealthService()

    async def attach(self, server: grpc.aio.Server) -> None:
        """Adds the health service to a server that is not started yet: live at once, ready later."""
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        self._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)
        await self.not_ready("starting")

    async def ready(self) -> None:
        """Says SERVING; a service that is about to stop stays NOT_SERVING."""
        if self.stopping.is_set():
            return
        if self.reason:
            log.info("serving")
        self.reason = ""
        self._set(health_pb2.HealthCheckResponse.SERVING)
        metrics.READY.labels(self.service).set(1)

    async def not_ready(self, reason: str) -> None:
        """Says NOT_SERVING and why."""
        if reason != self.reason:
            log.warning("not serving", reason=reason)
        self.reason = reason
        self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        metrics.READY.labels(self.service).set(0)

    async def begin_drain(self) -> None:
        """Says NOT_SERVING for good, and ends the streams that watch for that."""
        self.stopping.set()
        await self.not_ready("shutting down")
        self._health.close()

    def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in (READINESS, *self.names):
            self._health.set(name, status)
