"""Builds the client wheel, installs it alone into a clean environment, and calls a real server with it."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

from shared.testing.processes import ROOT, ServiceProcess

ALLOWED = {"fusionrec", "grpcio", "protobuf", "googleapis-common-protos", "typing-extensions", "pip", "setuptools"}

CALL = """
import importlib, pathlib, sys
import fusionrec
assert not any("{root}" in entry for entry in sys.path + list(fusionrec.__path__)), "the tree is on the path"
(home,) = map(pathlib.Path, fusionrec.__path__)
assert (home / "py.typed").is_file(), "py.typed is missing"
paths = sorted(home.rglob("*.py"))
assert len(paths) >= 16, paths
modules = [".".join(path.relative_to(home.parent).with_suffix("").parts) for path in paths]
for name in modules:
    importlib.import_module(name)

import grpc
from fusionrec.channel import connect
from fusionrec.evaluator.v1 import evaluator_service_pb2 as pb, evaluator_service_pb2_grpc as pb_grpc
from google.rpc import error_details_pb2, status_pb2

with connect("{address}") as channel:
    stub = pb_grpc.EvaluatorServiceStub(channel)
    answer = stub.EvaluateRankings(
        pb.EvaluateRankingsRequest(
            rankings=[pb.Ranking(query_id="u", item_ids=["a", "b"])],
            judgements=[pb.Judgement(query_id="u", item_id="b", gain=1)],
            metrics=["mrr@10"],
        ),
        timeout=30,
    )
    assert answer.metrics["mrr@10"] == 0.5, answer
    try:
        stub.EvaluateRankings(pb.EvaluateRankingsRequest(), timeout=30)
        raise SystemExit("an empty request was accepted")
    except grpc.RpcError as error:
        data = dict(error.trailing_metadata())["grpc-status-details-bin"]
        info = error_details_pb2.ErrorInfo()
        assert status_pb2.Status.FromString(data).details[0].Unpack(info)
        assert (error.code().name, info.domain, info.reason) == ("INVALID_ARGUMENT", "fusionrec", "INVALID_FIELD"), info
print(f"{{len(modules)}} modules import alone; a call and a refusal came back")
"""


def main() -> None:
    """Builds, installs, calls."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
        (wheel,) = folder.glob("fusionrec-*.whl")
        venv.create(folder / "env", with_pip=True)
        python = str(folder / "env" / "bin" / "python")
        run(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(wheel))
        listing = subprocess.run(  # noqa: S603 (our own interpreter)
            [python, "-m", "pip", "list", "--format=json", "--disable-pip-version-check"],
            check=True,
            capture_output=True,
        )
        installed = {package["name"].lower().replace("_", "-") for package in json.loads(listing.stdout)}
        if not installed <= ALLOWED:
            raise SystemExit(f"the client brings more than it may: {sorted(installed - ALLOWED)}")
        print(f"{wheel.name} brings {', '.join(sorted(installed - {'fusionrec', 'pip', 'setuptools'}))}")
        with ServiceProcess("evaluator", {"EVALUATOR_ARTIFACTS": str(folder / "reports")}) as server:
            server.wait_live()
            run(python, "-I", "-c", CALL.format(root=ROOT, address=server.address), cwd=folder)


def run(*command: str, cwd: Path = ROOT) -> None:
    """Runs a command; its failure is ours."""
    done = subprocess.run(command, check=False, cwd=cwd)  # noqa: S603 (our own interpreter)
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(command)[:200]}")


if __name__ == "__main__":
    main()
