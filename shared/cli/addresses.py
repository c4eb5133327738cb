"""Where the five services listen: one block of ports, chosen by its first."""

from __future__ import annotations

from dataclasses import dataclass

SERVICES = ("ingestion", "embedding", "candidates", "ranker", "evaluator")
"""The five, in the order of their ports and of their start."""
DEFAULT_PORT_BASE = 50_051
METRICS_OFFSET = 1_000
MAX_PORT_BASE = 65_535 - METRICS_OFFSET - len(SERVICES) + 1


@dataclass(frozen=True)
class Addresses:
    """The addresses of the five on one host: ports `port_base` to `port_base + 4`, metrics 1000 above."""

    port_base: int = DEFAULT_PORT_BASE
    host: str = "127.0.0.1"

    def port(self, service: str) -> int:
        """Returns the gRPC port of a service."""
        return self.port_base + SERVICES.index(service)

    def metrics_port(self, service: str) -> int:
        """Returns the port of a service's Prometheus metrics."""
        return self.port(service) + METRICS_OFFSET

    def address(self, service: str) -> str:
        """Returns the gRPC address of a service, "host:port"."""
        return f"{self.host}:{self.port(service)}"
