"""`fusionrec up`: all five start, are told of, and leave nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.cli.addresses import SERVICES, Addresses
from shared.cli.processes import free_port_base
from shared.cli.workspace import ROOT
from shared.rpc.server import LIVENESS
from shared.testing.processes import health_of

START_S = 120


class Up:
    """A running `fusionrec up`, started from a folder that is not the project's."""

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.addresses = Addresses(free_port_base(Addresses()))
        self.said = folder / "said.txt"
        elsewhere = folder / "services"
        elsewhere.mkdir()
        (elsewhere / "__init__.py").write_text("raise RuntimeError('not these services')\n")
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (ROOT, ROOT / "client", ROOT / "shared" / "gen")))}
        env |= {"PYTHONSAFEPATH": "1", **variables}
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "shared.cli", "up", "--port-base", str(self.addresses.port_base)],
                cwd=folder,
                env=env,
                stdout=said,
                stderr=said,
            )

    @property
    def pids(self) -> dict[str, int]:
        state = json.loads((self.folder / ".fusionrec" / "run" / "state.json").read_text())
        return {name: one["pid"] for name, one in state["services"].items()}

    def wait_live(self):
        self.wait_for(lambda: "all five are live" in self.said.read_text())
        assert [health_of(self.addresses.address(name), LIVENESS) for name in SERVICES] == ["SERVING"] * 5

    def wait_for(self, holds):
        until = time.monotonic() + START_S
        while not holds():
            assert self.process.poll() is None, self.said.read_text()
            assert time.monotonic() < until, self.said.read_text()
            time.sleep(0.05)


@pytest.fixture
def up(request, tmp_path):
    running = Up(tmp_path, getattr(request, "param", {}))
    yield running
    if running.process.poll() is None:
        running.process.terminate()
        running.process.wait(30)


def alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def wait_gone(pids):
    until = time.monotonic() + 30
    while any(alive(pid) for pid in pids):
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.slow
def test_a_child_that_dies_is_told_of_and_comes_back_and_sigterm_stops_all(up):
    up.wait_live()
    pids = up.pids
    assert set(pids) == set(SERVICES)

    os.kill(pids["embedding"], signal.SIGKILL)
    up.wait_for(lambda: "embedding was killed by SIGKILL. The last lines of" in up.said.read_text())
    others = [name for name in SERVICES if name != "embedding"]
    assert [health_of(up.addresses.address(name), LIVENESS) for name in others] == ["SERVING"] * 4
    up.wait_for(lambda: up.pids["embedding"] != pids["embedding"])
    up.wait_for(lambda: health_of(up.addresses.address("embedding"), LIVENESS) == "SERVING")
    assert "embedding: started again after 1 s" in up.said.read_text()
    assert {name: up.pids[name] for name in others} == {name: pids[name] for name in others}
    pids = up.pids

    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(40) == 0
    assert not any(alive(pid) for pid in pids.values())
    assert not (up.folder / ".fusionrec" / "run" / "state.json").exists()
    assert up.said.read_text().rstrip().endswith("stopped")
    for name in others:
        assert "stopped" in (up.folder / ".fusionrec" / "logs" / f"{name}.log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("up", [{"RANKER_MAX_STREAMS": "0"}], indirect=True)
def test_a_service_with_wrong_settings_is_given_up_and_the_others_run(up):
    up.wait_for(lambda: "ranker: given up, its settings are wrong; the others keep running" in up.said.read_text())
    assert "RANKER_MAX_STREAMS = '0': Input should be greater than or equal to 1" in up.said.read_text()
    up.wait_for(lambda: health_of(up.addresses.address("ingestion"), LIVENESS) == "SERVING")
    up.process.send_signal(signal.SIGTERM)
    assert up.process.wait(40) == 1
    assert "given up on the way: ranker" in up.said.read_text()


@pytest.mark.slow
def test_ctrl_c_is_a_clean_end_also_while_they_start(up):
    up.wait_for((up.folder / ".fusionrec" / "run" / "state.json").exists)
    pids = up.pids.values()
    up.process.send_signal(signal.SIGINT)
    assert up.process.wait(40) == 0
    assert not any(alive(pid) for pid in pids)


@pytest.mark.slow
def test_children_do_not_outlive_a_killed_parent(up):
    up.wait_for((up.folder / ".fusionrec" / "run" / "state.json").exists)
    pids = up.pids.values()
    up.wait_for(lambda: health_of(up.addresses.address("ingestion"), LIVENESS) == "SERVING")
    up.process.kill()
    up.process.wait()
    wait_gone(pids)
