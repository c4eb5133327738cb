"""The yardstick measured: `echo_server.py` in a process of its own, called as the services are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grpc.aio

from benchmarks.echo_server import METHOD
from benchmarks.loadgen import at_concurrencies

PAYLOAD = b"x" * 64


async def measure_echo(seconds: float) -> dict[str, dict[str, float]]:
    """Returns calls/s and latencies of the bare echo, `seconds` each; the server is stopped afterwards."""
    command = [sys.executable, str(Path(__file__).with_name("echo_server.py"))]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None  # noqa: S101 (it is a pipe)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{int(server.stdout.readline())}") as channel:
            echo: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

            async def call(_number: int) -> object:
                return await echo(PAYLOAD)

            return await at_concurrencies(call, seconds)
    finally:
        server.terminate()
        server.wait()
