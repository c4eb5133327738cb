"""The server runner: health, reflection, limits, warm-up, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from shared.data.limits import MAX_MESSAGE_BYTES
from shared.rpc.interceptors import CallInterceptor
from shared.telemetry import metrics
from shared.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.rpc.settings import ServerSettings

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
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    reason: str = "starting"
    _health: health.aio.HealthServicer = field(default_factory=health.aio.HealthServicer)
    _names: tuple[str, ...] = ()

    async def ready(self) -> None:
        """Says SERVING."""
        if self.stopping.is_set():
            return
        self.reason = ""
        await self._set(health_pb2.HealthCheckResponse.SERVING)
        metrics.READY.labels(self.service).set(1)
        log.info("serving")

    async def not_ready(self, reason: str) -> None:
        """Says NOT_SERVING and why."""
        self.reason = reason
        await self._set(health_pb2.HealthCheckResponse.NOT_SERVING)
        metrics.READY.labels(self.service).set(0)
        log.warning("not serving", reason=reason)

    async def _set(self, status: health_pb2.HealthCheckResponse.ServingStatus) -> None:
        for name in (READINESS, *self._names):
            await self._health.set(name, status)


class ServiceApp(Protocol):
    """What a service's composition root hands to the runner."""

    service_names: tuple[str, ...]
    """Full names of the gRPC services, for health and reflection."""

    def register(self, server: grpc.aio.Server) -> None:
        """Adds the servicers to the server."""

    async def start(self, lifecycle: Lifecycle) -> None:
        """Loads and warms, then calls `lifecycle.ready()`, or `not_ready` with the reason."""

    async def stop(self) -> None:
        """Ends background work, flushes, closes files and channels."""


class PortTaken(Exception):
    """The address cannot be listened on; the message says what to do."""


@contextlib.asynccontextmanager
async def running(app: ServiceApp, settings: ServerSettings, service: str) -> AsyncIterator[tuple[str, Lifecycle]]:
    """Runs a service; yields its address and lifecycle once it listens. Drains on exit.

    The service warms in the background: health tells when it is done.

    Raises:
        PortTaken: the address is in use.

    """
    server = grpc.aio.server(
        interceptors=[
            CallInterceptor(
                service,
                max_concurrent=settings.max_concurrent_rpcs,
                max_streams=settings.max_streams,
                default_timeout_s=settings.default_timeout_s,
            )
        ],
        options=[
            # Two servers must not share a port silently.
            ("grpc.so_reuseport", 0),
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            # The channel helper pings every 30 s, also without calls.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
        ],
    )
    app.register(server)
    lifecycle = Lifecycle(service, _names=app.service_names)
    await lifecycle.not_ready("starting")
    await lifecycle._health.set(LIVENESS, health_pb2.HealthCheckResponse.SERVING)  # noqa: SLF001 (same module)
    health_pb2_grpc.add_HealthServicer_to_server(lifecycle._health, server)  # type: ignore[no-untyped-call]  # noqa: SLF001
    reflection.enable_server_reflection(
        (*app.service_names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
        server,
    )
    try:
        port = server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError as error:
        raise PortTaken(
            f"cannot listen on {settings.host}:{settings.port}: another process has the port. Stop it, or set "
            f"{service.upper()}_PORT (with `fusionrec up`: --port-base) to another one"
        ) from error
    await server.start()
    address = f"{settings.host}:{port}"
    log.info("listening", address=address)
    warm = asyncio.create_task(_warm(app, lifecycle))
    try:
        yield address, lifecycle
    finally:
        lifecycle.stopping.set()
        await lifecycle.not_ready("shutting down")
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)
        await server.stop(settings.grace_s)
        await app.stop()
        log.info("stopped")


async def _warm(app: ServiceApp, lifecycle: Lifecycle) -> None:
    try:
        await app.start(lifecycle)
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("start failed")
        await lifecycle.not_ready("the start failed; the log has the reason")


async def _serve_until_signal(app: ServiceApp, settings: ServerSettings, service: str) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    metrics.serve_metrics(settings.metrics_port, settings.host)
    async with running(app, settings, service):
        await stop.wait()


def serve(build: Callable[[], ServiceApp], settings: ServerSettings, service: str) -> int:
    """Runs a service as this process until SIGTERM or SIGINT. Returns the exit code."""
    configure_logs(service, level=settings.log_level, json_lines=settings.log_json)
    try:
        import uvloop  # noqa: PLC0415 (absent on Windows, where asyncio's own loop serves)

        runner = uvloop.run
    except ImportError:
        runner = asyncio.run
    try:
        runner(_main(build, settings, service))
    except PortTaken as error:
        print(f"{service}: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{service}: cannot serve metrics on port {settings.metrics_port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def _main(build: Callable[[], ServiceApp], settings: ServerSettings, service: str) -> None:
    # Built inside the loop: grpc.aio channels bind to the running one.
    await _serve_until_signal(build(), settings, service)
