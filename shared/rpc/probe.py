"""A health probe for containers: `python -m shared.rpc.probe ADDRESS [SERVICE]`.

SERVICE is a health service name: empty for readiness (the default), "liveness" for "the process is up".
Exit code 0 when it says SERVING, 1 when it does not.
"""

from __future__ import annotations

import sys

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

TIMEOUT_S = 3.0


def is_serving(address: str, service: str = "") -> bool:
    """Returns whether the server at `address` says SERVING within `TIMEOUT_S` seconds."""
    with grpc.insecure_channel(address) as channel:
        stub = health_pb2_grpc.HealthStub(channel)
        try:
            reply = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=TIMEOUT_S)
        except grpc.RpcError:
            return False
    return bool(reply.status == health_pb2.HealthCheckResponse.SERVING)


if __name__ == "__main__":
    sys.exit(0 if is_serving(*sys.argv[1:3]) else 1)
