"""The server runner: health, reflection, limits, warm-up, drain on SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import sys
from typing import TYPE_CHECKING, Protocol

import grpc
import grpc.aio
import structlog
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection

from shared.data.limits import MAX_MESSAGE_BYTES
from shared.rpc import interpreter
from shared.rpc.interceptors import CallInterceptor
from shared.rpc.lifecycle import LIVENESS, READINESS, Lifecycle
from shared.telemetry import metrics
from shared.telemetry.logs import configure_logs

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from shared.rpc.settings import ServerSettings

log = structlog.get_logger(__name__)

__all__ = ["LIVENESS", "READINESS", "Lifecycle", "PortTaken", "ServiceApp", "running", "serve"]


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
    lifecycle = Lifecycle(service, app.service_names)
    await lifecycle.attach(server)
    reflection.enable_server_reflection(
        (*app.service_names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME),
        server,
    )
    port = _listen(server, settings, service)
    await server.start()
    address = f"{settings.host}:{port}"
    log.info("listening", address=address)
    warm = asyncio.create_task(_warm(app, lifecycle))
    try:
        yield address, lifecycle
    finally:
        await lifecycle.begin_drain()
        warm.cancel()
        await asyncio.gather(warm, return_exceptions=True)
        await server.stop(settings.grace_s)
        await app.stop()
        log.info("stopped")


def _listen(server: grpc.aio.Server, settings: ServerSettings, service: str) -> int:
    try:
        return server.add_insecure_port(f"{settings.host}:{settings.port}")
    except RuntimeError as error:
        prefix = service.upper()
        if _is_taken(settings.host, settings.port):
            raise PortTaken(
                f"cannot listen on {settings.host}:{settings.port}: another process has the port. Stop it, or set "
                f"{prefix}_PORT (with `fusionrec up`: --port-base) to another one"
            ) from error
        raise PortTaken(
            f"cannot listen on {settings.host}:{settings.port}: not an address of this machine, or not allowed. "
            f"Set {prefix}_HOST and {prefix}_PORT to one that is"
        ) from error


def _is_taken(host: str, port: int) -> bool:
    # grpc says "failed to bind" for every cause; the system itself tells them apart.
    with socket.socket() as probe:
        try:
            probe.bind((host, port))
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def _serve_metrics(settings: ServerSettings, service: str) -> None:
    try:
        metrics.serve_metrics(settings.metrics_port, settings.host)
    except OSError as error:
        raise PortTaken(
            f"cannot serve metrics on {settings.host}:{settings.metrics_port}: {error.strerror}. "
            f"Set {service.upper()}_METRICS_PORT to another port, or to 0 for none"
        ) from error


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
    _serve_metrics(settings, service)
    async with running(app, settings, service):
        await stop.wait()


def serve(build: Callable[[], ServiceApp], settings: ServerSettings, service: str) -> int:
    """Runs a service as this process until SIGTERM or SIGINT. Returns the exit code."""
    configure_logs(service, level=settings.log_level, json_lines=settings.log_json)
    interpreter.settle()
    try:
        import uvloop

        runner = uvloop.run
    except ImportError:  # no uvloop on Windows: asyncio's own loop serves
        runner = asyncio.run
    try:
        runner(_main(build, settings, service))
    except PortTaken as error:
        sys.stderr.write(f"{service}: {error}\n")
        return 1
    return 0


async def _main(build: Callable[[], ServiceApp], settings: ServerSettings, service: str) -> None:
    # Built inside the loop: grpc.aio channels bind to the running one.
    await _serve_until_signal(build(), settings, service)
