from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path

import pytest
from google.protobuf import descriptor_pool

PROTOS = Path(__file__).resolve().parents[3] / "protos"


@pytest.fixture(scope="session")
def files():
    """The file descriptors of all protos, by path."""
    paths = sorted(path.relative_to(PROTOS).as_posix() for path in PROTOS.rglob("*.proto"))
    for path in paths:
        importlib.import_module(path.removesuffix(".proto").replace("/", ".") + "_pb2")
    return {path: descriptor_pool.Default().FindFileByName(path) for path in paths}


@pytest.fixture(scope="session")
def comments():
    """The comment of every field of every message, by "Message.field"."""
    found = {}
    for path in PROTOS.rglob("*.proto"):
        message, lines = "", []
        for raw in path.read_text().splitlines():
            line = raw.strip()
            if line.startswith("//"):
                lines.append(line.removeprefix("//").strip())
                continue
            if opened := re.match(r"message (\w+)", line):
                message = opened[1]
            elif field := re.match(r"[\w.<>, ]+ (\w+) = \d+", line):
                found[f"{message}.{field[1]}"] = " ".join(lines)
            lines = []
    return found


@pytest.fixture(scope="session")
def service_of(files):
    """Gives the descriptor of a service's gRPC service, by the service's folder name."""
    return lambda name: next(iter(files[f"fusionrec/{name}/v1/{name}_service.proto"].services_by_name.values()))


@pytest.fixture(scope="session")
def servicer_of(service_of):
    """Gives the class in services/<name>/servicer.py that implements the contract."""

    def find(name: str) -> type:
        grpc_module = importlib.import_module(f"fusionrec.{name}.v1.{name}_service_pb2_grpc")
        base = getattr(grpc_module, f"{service_of(name).name}Servicer")
        module = importlib.import_module(f"services.{name}.servicer")
        own = [
            kind for kind in vars(module).values()
            if inspect.isclass(kind) and issubclass(kind, base) and kind.__module__ == module.__name__
        ]  # fmt: skip
        assert len(own) == 1, f"services/{name}/servicer.py has {len(own)} servicers"
        return own[0]

    return find
