"""The yardstick: a bare gRPC echo on grpc.aio with uvloop, no interceptors, no protobuf. Prints its port.

python benchmarks/echo_server.py                              answers with the request
python benchmarks/echo_server.py --upstream PORT              asks the echo at that port first: a chain of two hops
python benchmarks/echo_server.py --reply 3000                 answers with this many bytes instead
"""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Answer = Callable[[bytes, Any], Awaitable[bytes]]

METHOD = "/bench.Echo/Echo"


class _Echo(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer) -> None:
        self._handler: Any = grpc.unary_unary_rpc_method_handler(answer)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        return self._handler if handler_call_details.method == METHOD else None


def _answering(upstream: int, reply: int) -> Answer:
    own = b"x" * reply
    if not upstream:

        async def echo(request: bytes, _context: Any) -> bytes:
            return own or request

        return echo
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{upstream}")
    ask: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)

    async def forward(request: bytes, _context: Any) -> bytes:
        answer: bytes = await ask(request)
        return own or answer

    return forward


async def _main(upstream: int, reply: int) -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(_answering(upstream, reply)),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", type=int, default=0)
    parser.add_argument("--reply", type=int, default=0)
    options = parser.parse_args()
    uvloop.run(_main(options.upstream, options.reply))
