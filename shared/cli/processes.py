"""The five services as child processes of this one: start, watch, stop."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from shared.cli.addresses import SERVICES
from shared.cli.console import Refusal
from shared.cli.environment import environment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from shared.cli.addresses import Addresses
    from shared.cli.workspace import Workspace

GRACE_S = 15.0
"""Time between SIGTERM and SIGKILL, seconds; a service gives its own running calls 10."""
TAIL_LINES = 15


@dataclass
class Child:
    """One service's process and the file its output goes to."""

    service: str
    process: subprocess.Popen[bytes]
    log: Path
    answered: bool = False
    """True once it has answered: silence is no longer that of starting."""

    @property
    def running(self) -> bool:
        """True while the process has not ended."""
        return self.process.poll() is None

    def tail(self) -> list[str]:
        """Returns the last lines of the log."""
        with self.log.open(errors="replace") as lines:
            return [line.rstrip("\n") for line in deque(lines, maxlen=TAIL_LINES)]

    def ending(self) -> str:
        """Returns how the process ended, in words."""
        code = self.process.returncode
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}"


class Fleet:
    """The running children."""

    def __init__(self, children: list[Child], start: Callable[[str], subprocess.Popen[bytes]]) -> None:
        self.children = children
        self.started_at = datetime.now(UTC)
        self._start = start

    def restart(self, child: Child) -> None:
        """Starts a child that has ended once more; its log goes on. From the main thread, as `start_fleet`."""
        child.answered = False
        child.process = self._start(child.service)

    def stop(self) -> list[str]:
        """Ends all children at once: SIGTERM, the grace, SIGKILL. Returns the names of those that had to be killed."""
        # In the order of need: who calls others goes first, ingestion last.
        for child in reversed(self.children):
            if child.running:
                child.process.send_signal(signal.SIGTERM)
        until = time.monotonic() + GRACE_S
        killed = []
        for child in self.children:
            try:
                child.process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
                killed.append(child.service)
        return killed


def start_fleet(addresses: Addresses, workspace: Workspace) -> Fleet:
    """Starts the five. Call from the main thread: a child ends with the thread that started it.

    Raises:
        Refusal: a port is taken; nothing was started.

    """
    refuse_taken_ports(addresses)
    workspace.create()
    fleet = Fleet([], lambda service: _start(service, addresses, workspace))
    try:
        for service in SERVICES:
            log = workspace.log(service)
            log.write_bytes(b"")
            fleet.children.append(Child(service, _start(service, addresses, workspace), log))
    except BaseException:
        fleet.stop()
        raise
    return fleet


def _start(service: str, addresses: Addresses, workspace: Workspace) -> subprocess.Popen[bytes]:
    with workspace.log(service).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 (our own modules)
            guarded([sys.executable, "-m", f"services.{service}", "serve"]),
            env=environment(service, addresses, workspace),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            # Ctrl-C reaches the parent alone, which stops the children in order.
            start_new_session=True,
        )


def refuse_taken_ports(addresses: Addresses) -> None:
    """Checks that the five can listen.

    Raises:
        Refusal: names every taken port, for what it was wanted, and what to do.

    """
    taken = taken_ports(addresses)
    if taken:
        wanted = "\n".join(f"  port {port}, wanted for {use}: {why}" for port, use, why in taken)
        raise Refusal(
            f"cannot listen:\n{wanted}\nStop what has it (another `fusionrec up`, the containers?), "
            f"or choose other ports: fusionrec up --port-base {free_port_base(addresses)}"
        )


def taken_ports(addresses: Addresses) -> list[tuple[int, str, str]]:
    """Returns (port, its use, the reason) for every port of the five that cannot be listened on."""
    wanted = [(addresses.port(service), service) for service in SERVICES]
    wanted += [(addresses.metrics_port(service), f"the metrics of {service}") for service in SERVICES]
    found = ((port, use, _why_not(addresses.host, port)) for port, use in wanted)
    return [(port, use, why) for port, use, why in found if why]


def free_port_base(addresses: Addresses) -> int:
    """Returns a first port near those of `addresses` from which all ports are free.

    Raises:
        Refusal: none was found.

    """
    for base in range(20_051, 64_000, 100):
        if not taken_ports(type(addresses)(base, addresses.host)):
            return base
    raise Refusal("no block of free ports was found on this machine")


@contextlib.contextmanager
def stop_as_interrupt() -> Iterator[None]:
    """Makes SIGTERM and SIGHUP do what Ctrl-C does, so that every `finally` runs."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def guarded(program: list[str]) -> list[str]:
    """Returns the command line of a program that ends when this process does."""
    return [sys.executable, "-I", "-S", str(Path(__file__).with_name("child.py")), str(os.getpid()), *program]


def _why_not(host: str, port: int) -> str:
    with socket.socket() as probe:
        # As servers do: a port in TIME_WAIT can be listened on.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return "taken by another process" if error.errno == errno.EADDRINUSE else os.strerror(error.errno or 0)
    return ""


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collects SIGINT, SIGTERM and SIGHUP into the yielded list instead of dying of them."""
    caught: list[int] = []
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, lambda got, _frame: caught.append(got)) for number in signals}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
