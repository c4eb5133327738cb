"""Services as real processes: started as an operator starts them, killed as a machine kills them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import grpc
from fusionrec.channel import connect
from grpc_health.v1 import health_pb2, health_pb2_grpc

from shared.rpc.server import LIVENESS, READINESS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

ROOT = Path(__file__).resolve().parents[2]
"""Root of the tree: where `python -m services.<svc>` is run."""

_POLL_S = 0.05


NOWHERE = "127.0.0.1:1"
"""An address that nobody answers at. Not a free port: the system may give that to a server of a later test, and gRPC
keeps a port that refused a channel of this process in its backoff."""


def free_port() -> int:
    """Returns a TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def health_of(address: str, service: str = READINESS, timeout_s: float = 1.0) -> str:
    """Returns what the health service says: "SERVING", "NOT_SERVING", or "UNREACHABLE" when nothing answers."""
    with connect(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
        except grpc.RpcError:
            return "UNREACHABLE"
        name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
        return name


class ServiceProcess:
    """One `python -m services.<svc> serve` with its own port; a context manager that leaves nothing running.

    Args:
        service: the service's folder name ("ingestion"); also the prefix of its PORT settings.
        env: environment variables on top of this process's own, for example `INGESTION_STORE`.
        port: the port to serve on; None takes a free one. It stays the same over restarts.
        module: what to run instead of `services.<svc>` (tests of the runner itself).
        args: arguments of the module.

    """

    def __init__(
        self,
        service: str,
        env: Mapping[str, str] | None = None,
        *,
        port: int | None = None,
        module: str | None = None,
        args: Sequence[str] = ("serve",),
    ) -> None:
        self.service = service
        self.port = free_port() if port is None else port
        self.address = f"127.0.0.1:{self.port}"
        prefix = service.upper()
        own = {f"{prefix}_PORT": str(self.port), f"{prefix}_METRICS_PORT": "0", "PYTHONUNBUFFERED": "1"}
        self._env = {**os.environ, **own, **(env or {})}
        self._command = [sys.executable, "-m", module or f"services.{service}", *args]
        self._log = tempfile.NamedTemporaryFile(prefix=f"{service}-", suffix=".log")  # noqa: SIM115 (closed in stop)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Starts the process; also again, after it was killed or has ended."""
        if self.is_running:
            raise RuntimeError(f"{self.service} runs already")
        with Path(self._log.name).open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 (our own module)
                self._command, env=self._env, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def stop(self) -> None:
        """Ends the process, by force after 15 seconds, and drops its log."""
        if self.is_running:
            try:
                self.terminate()
            except subprocess.TimeoutExpired:
                self.kill9()
        self._log.close()

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process."""
        if self._process is None:
            raise RuntimeError(f"{self.service} was not started")
        return self._process

    @property
    def is_running(self) -> bool:
        """True while the process has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """All that the process (and those before it) wrote to standard output and error."""
        return Path(self._log.name).read_text(errors="replace")

    def health(self, service: str = READINESS) -> str:
        """Returns the health service's answer; see `health_of`."""
        return health_of(self.address, service)

    def wait_live(self, timeout: float = 60.0) -> None:
        """Waits until the process listens, trained or not.

        Raises:
            TimeoutError, RuntimeError: as `wait_ready`.

        """
        self._wait(LIVENESS, timeout)

    def wait_ready(self, timeout: float = 60.0) -> None:
        """Waits until the service says SERVING.

        Raises:
            TimeoutError: it does not; the text ends with the log.
            RuntimeError: the process ended; the text ends with the log.

        """
        self._wait(READINESS, timeout)

    def wait_exit(self, timeout: float = 15.0) -> int:
        """Waits for the end of the process; returns its exit code."""
        return self.process.wait(timeout)

    def terminate(self, timeout: float = 15.0) -> int:
        """Sends SIGTERM and waits; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout)

    def kill9(self) -> None:
        """Sends SIGKILL: no handler runs, nothing is flushed."""
        self.process.kill()
        self.process.wait()

    def _wait(self, service: str, timeout: float) -> None:
        until = time.monotonic() + timeout
        while self.health(service) != "SERVING":
            if not self.is_running:
                raise RuntimeError(f"{self.service} ended with {self.process.returncode}:\n{self._tail()}")
            if time.monotonic() > until:
                raise TimeoutError(f"{self.service} is not SERVING after {timeout} s:\n{self._tail()}")
            time.sleep(_POLL_S)

    def _tail(self) -> str:
        return "\n".join(self.log.splitlines()[-40:])
