"""What the project promises a backend, seen through a client that was compiled from the protos alone."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from shared.testing.processes import ROOT

pytestmark = pytest.mark.slow

PROTOS = ROOT / "protos"
TOY_STORIES = ("1", "3114", "4886", "588", "364")
"""Toy Story, Toy Story 2, Monsters, Inc., Aladdin, The Lion King."""


@pytest.fixture(scope="session")
def stubs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stubs")
    files = [str(path) for path in sorted(PROTOS.rglob("*.proto"))]
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTOS}"]
    command += [f"--python_out={folder}", f"--grpc_python_out={folder}"]
    subprocess.run([*command, *files], check=True)
    return folder


@pytest.fixture
def client(trained, stubs, tmp_path):
    def call(name, *arguments):
        script = Path(__file__).with_name("stranger.py")
        command = [sys.executable, "-E", str(script), str(stubs), trained.address("ranker")]
        command += [trained.address("ingestion"), name, *arguments]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
        assert ended.returncode == 0, ended.stderr[-2000:]
        return json.loads(ended.stdout)

    return call


def wait_until(holds, seconds=60.0):
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.1)


def test_an_event_of_a_new_user_changes_the_next_answer(client):
    before = client("recommend", "stranger-1")
    assert len(before["items"]) == 20
    assert client("like", "stranger-1", *TOY_STORIES[:2]) == ["WRITE_STATUS_ACCEPTED"] * 2
    after = client("recommend", "stranger-1")
    assert after["items"] != before["items"]
    assert after["temperature"] != before["temperature"]
    assert not after["degraded"]


def test_a_new_item_with_only_a_title_reaches_a_fitting_user(client):
    client("like", "stranger-2", *TOY_STORIES)
    client("add_item", "toy-story-4", "Toy Story 4")
    assert client("appears", "stranger-2", "toy-story-4") is not None


def test_a_neighbour_that_dies_degrades_the_answer_by_name_and_comes_back(client, trained):
    client("like", "stranger-3", *TOY_STORIES)
    assert client("recommend", "stranger-3")["degraded"] == {}
    candidates = trained.processes["candidates"]
    candidates.kill9()
    try:
        # Another length of list: an answer that is given again was computed when it was up.
        answer = client("recommend", "stranger-3", "10")
        assert answer["degraded"] == {"candidates": "text_only"}
        assert len(answer["items"]) == 10
    finally:
        candidates.start()
        candidates.wait_ready(120)
    wait_until(lambda: client("recommend", "stranger-3", "10")["degraded"] == {})
