"""The yardstick measured: `echo_server.py` in a process of its own, called as the services are."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio

from benchmarks.echo_server import METHOD
from benchmarks.loadgen import at_concurrencies

if TYPE_CHECKING:
    from collections.abc import Iterator

PAYLOAD = b"x" * 64


async def measure_echo(seconds: float) -> dict[str, dict[str, float]]:
    """Returns calls/s and latencies of the bare echo, `seconds` each; the server is stopped afterwards."""
    with _server() as port:
        return await _measured(port, seconds)


async def measure_chain(seconds: float, *, reply: int = 0, inner_reply: int = 0) -> dict[str, dict[str, float]]:
    """Returns the same of two hops: an echo that asks another one, each a process of its own.

    `reply` and `inner_reply` are the bytes that the first and the second answer with; 0: the request's 64.
    """
    with (
        _server("--reply", str(inner_reply)) as inner,
        _server("--upstream", str(inner), "--reply", str(reply)) as port,
    ):
        return await _measured(port, seconds)


@contextmanager
def _server(*options: str) -> Iterator[int]:
    command = [sys.executable, str(Path(__file__).with_name("echo_server.py")), *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101 (it is a pipe)
        yield int(server.stdout.readline())
    finally:
        server.terminate()
        server.wait()


async def _measured(port: int, seconds: float) -> dict[str, dict[str, float]]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

        async def call(_number: int) -> object:
            return await echo(PAYLOAD)

        return await at_concurrencies(call, seconds)
