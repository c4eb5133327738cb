"""What the command says and returns when it cannot do what was asked."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from shared.cli.addresses import SERVICES, Addresses
from shared.cli.environment import environment
from shared.cli.main import main
from shared.cli.processes import free_port_base, taken_ports
from shared.cli.session import Session
from shared.cli.up import only_one
from shared.cli.workspace import ROOT, Workspace


@pytest.fixture(autouse=True)
def _own_settings(monkeypatch, tmp_path):
    monkeypatch.setenv("FUSIONREC_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.delenv("FUSIONREC_PORT_BASE", raising=False)


@pytest.fixture
def free_base():
    return free_port_base(Addresses())


@pytest.mark.parametrize(
    ("arguments", "service", "offset"),
    [(["stats"], "ingestion", 0), (["train"], "ingestion", 0), (["recommend", "u"], "ranker", 3)],
)
def test_without_services_it_says_where_it_looked_and_what_to_do(free_base, capsys, arguments, service, offset):
    assert main([*arguments, "--port-base", str(free_base)]) == 1
    said = capsys.readouterr().err
    assert f"no services at 127.0.0.1:{free_base + offset} ({service} does not answer): run `fusionrec up`" in said
    assert "Traceback" not in said


def test_an_import_without_services_does_not_wait(free_base, capsys, tmp_path):
    file = tmp_path / "e.csv"
    file.write_text("user_id,item_id,type\nu,i,view\n")
    assert main(["import", "events", str(file), "--port-base", str(free_base)]) == 1
    assert "run `fusionrec up`" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["recommend"],
        ["recommend", "u", "-k", "many"],
        ["recommend", "u", "-k", str(2**40)],
        ["up", "--port-base", "65000"],
        ["import", "events", "/nowhere/x.csv"],
        ["train", "--protocol", "hot"],
    ],
)
def test_wrong_usage_is_exit_code_2(capsys, arguments):
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("taken", [2, 1003])
def test_a_taken_port_is_refused_with_its_use_and_the_way_out(free_base, capsys, taken):
    with socket.socket() as holder:
        # As servers do: a connection that ended a minute ago does not hold a port.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.bind(("127.0.0.1", free_base + taken))
        holder.listen()
        assert main(["up", "--port-base", str(free_base)]) == 1
        said = capsys.readouterr().err
        assert [port for port, _, _ in taken_ports(Addresses(free_base))] == [free_base + taken]
    use = "candidates" if taken == 2 else "the metrics of ranker"
    assert f"port {free_base + taken}, wanted for {use}: taken by another process" in said
    assert "--port-base" in said


def test_a_data_directory_in_use_is_refused(free_base, capsys, tmp_path):
    with only_one(Workspace(tmp_path / "data")):
        assert main(["up", "--port-base", str(free_base)]) == 1
    assert "is in use by another fusionrec" in capsys.readouterr().err


def test_addresses_are_those_told_then_those_running_then_the_default(tmp_path):
    workspace = Workspace(tmp_path)
    assert Session(workspace, None).addresses.address("evaluator") == "127.0.0.1:50055"
    workspace.create()
    workspace.write_state({"pid": os.getpid(), "port_base": 23_001})
    assert Session(workspace, None).addresses.address("ranker") == "127.0.0.1:23004"
    assert Session(workspace, 24_001).addresses.address("ranker") == "127.0.0.1:24004"
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    workspace.write_state({"pid": gone.pid, "port_base": 23_001})
    assert Session(workspace, None).addresses.address("ranker") == "127.0.0.1:50054"


def test_a_service_is_told_its_ports_its_neighbours_and_its_place(tmp_path, monkeypatch):
    monkeypatch.setenv("RANKER_ARTIFACTS", "s3://elsewhere")
    addresses, workspace = Addresses(23_001), Workspace(tmp_path)
    candidates = environment("candidates", addresses, workspace)
    assert candidates["CANDIDATES_PORT"] == "23003"
    assert candidates["CANDIDATES_METRICS_PORT"] == "24003"
    assert candidates["CANDIDATES_EMBEDDING_ADDRESS"] == "127.0.0.1:23002"
    assert candidates["CANDIDATES_ARTIFACTS"] == str(tmp_path / "candidates" / "artifacts")
    assert (
        environment("ingestion", addresses, workspace)["INGESTION_STORE"] == f"sqlite:///{tmp_path}/ingestion/events.db"
    )
    assert environment("ranker", addresses, workspace)["RANKER_ARTIFACTS"] == "s3://elsewhere"


@pytest.mark.parametrize("service", SERVICES)
def test_the_settings_that_the_command_sets_are_settings_of_the_service(service, tmp_path):
    """A renamed setting would otherwise be ignored in silence."""
    given = environment(service, Addresses(), Workspace(tmp_path))
    prefix = f"{service.upper()}_"
    names = sorted(name.removeprefix(prefix).lower() for name in given if name.startswith(prefix))
    code = (
        "import importlib, json, sys\n"
        f"settings = importlib.import_module('services.{service}.settings')\n"
        "from shared.rpc.settings import ServerSettings\n"
        "own = [one for one in vars(settings).values() if isinstance(one, type) and issubclass(one, ServerSettings)\n"
        "       and one is not ServerSettings]\n"
        "print(json.dumps(sorted(set().union(*(one.model_fields for one in own)))))\n"
    )
    printed = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(names) <= set(json.loads(printed))
