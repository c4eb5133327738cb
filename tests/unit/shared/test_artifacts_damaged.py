"""Artifacts that are damaged, half written, or written by several at once."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from shared.errors import CorruptData, ModelNotReady, NotFound
from shared.testing.processes import ROOT

KIND = "candidates"


def version_folder(tmp_path: Path, version: str) -> Path:
    return tmp_path / "store" / KIND / version


def damage_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("harm", [damage_byte, truncate, Path.unlink], ids=["one bit", "truncated", "missing"])
@pytest.mark.parametrize("name", ["als/factors.bin", "items.json"])
def test_a_damaged_file_is_corrupt_and_named(local, model, tmp_path, harm, name):
    manifest = local.publish(KIND, model)
    harm(version_folder(tmp_path, manifest.version) / name)
    with pytest.raises(CorruptData, match=name) as caught:
        local.load(KIND)
    assert str(tmp_path) not in caught.value.message


def test_a_version_without_a_manifest_does_not_exist(local, model, tmp_path):
    manifest = local.publish(KIND, model)
    (version_folder(tmp_path, manifest.version) / "manifest.json").unlink()
    assert local.versions(KIND) == []
    with pytest.raises(NotFound):
        local.load(KIND)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b'{"kind": "candidates"}', b"[]"])
def test_an_unreadable_manifest_is_corrupt_and_hides_no_other(local, model, tmp_path, content):
    good = local.publish(KIND, model, labels={"stage": "test"})
    bad = local.publish(KIND, model, labels={"stage": "test"})
    (version_folder(tmp_path, bad.version) / "manifest.json").write_bytes(content)
    with pytest.raises(CorruptData):
        local.load(KIND)
    assert local.find(KIND, stage="test") == good


@pytest.mark.parametrize("content", [b"20200101T000000000000-00000000", b"", b"\xff\xfe\x00", b"../../etc"])
def test_current_pointing_nowhere_is_not_found(local, model, tmp_path, content):
    local.publish(KIND, model)
    (tmp_path / "store" / KIND / "CURRENT").write_bytes(content)
    with pytest.raises((NotFound, ModelNotReady)):
        local.load(KIND)


KILLED = """
import os, signal, sys
from pathlib import Path
from shared.artifacts import ArtifactStore

class Killed(ArtifactStore):
    def _write(self, path, content):
        if path.endswith(sys.argv[3]):
            os.kill(os.getpid(), signal.SIGKILL)
        super()._write(path, content)

Killed(sys.argv[1]).publish("candidates", Path(sys.argv[2]))
"""


@pytest.mark.parametrize(("at", "complete"), [("manifest.json", False), ("HISTORY", True), ("CURRENT", True)])
def test_a_job_killed_while_publishing_leaves_the_old_state(local, model, tmp_path, at, complete):
    before = local.publish(KIND, model)
    command = [sys.executable, "-c", KILLED, str(tmp_path / "store"), str(model), at]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    assert code == -signal.SIGKILL
    left = {entry.name for entry in (tmp_path / "store" / KIND).iterdir()}
    assert len(left) == 4  # the old version, HISTORY, CURRENT, what the killed job left
    assert local.load(KIND).manifest == before
    assert len(local.versions(KIND)) == (2 if complete else 1)
    after = local.publish(KIND, model).version
    assert after == local.current(KIND)
    assert local.history(KIND).trail == (before.version, after)


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[1]", b"\xff", b'{"trail": "v1", "left": []}', b'{"trail": [1], "left": []}']
)
def test_a_history_that_cannot_be_read_keeps_nobody_from_publishing(local, model, tmp_path, content):
    first = local.publish(KIND, model).version
    (tmp_path / "store" / KIND / "HISTORY").write_bytes(content)
    second = local.publish(KIND, model).version
    assert local.history(KIND).trail == (first, second)


def test_concurrent_jobs_publish_whole_versions(local, model):
    published, errors = [], []

    def job() -> None:
        try:
            published.extend(local.publish(KIND, model).version for _ in range(5))
        except Exception as error:  # noqa: BLE001 (a thread's failure is the test's)
            errors.append(error)

    threads = [threading.Thread(target=job) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(local.versions(KIND)) == sorted(published)
    assert len(set(published)) == 20
    for version in published:
        local.load(KIND, version)
    assert local.current(KIND) in published


def test_readers_of_current_never_see_half_a_pointer(local, model):
    versions = {local.publish(KIND, model).version for _ in range(2)}
    seen, done = set(), threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.add(local.current(KIND))

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(100):
        for version in versions:
            local.set_current(KIND, version)
    done.set()
    reader.join()
    assert seen <= versions
