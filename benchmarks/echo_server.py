"""The yardstick: a bare gRPC echo on grpc.aio with uvloop, no interceptors, no protobuf. Prints its port."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import uvloop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

METHOD = "/bench.Echo/Echo"


class _Echo(grpc.GenericRpcHandler):
    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        if handler_call_details.method != METHOD:
            return None
        handler: Callable[[bytes, Any], Awaitable[bytes]] = _echo
        return grpc.unary_unary_rpc_method_handler(handler)


async def _echo(request: bytes, _context: Any) -> bytes:
    return request


async def _main() -> None:
    server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((_Echo(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(_main())
