"""The check for breaking changes finds something to compare with: on a clean main, with and without a tag."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.testing.processes import ROOT

PROTO = """syntax = "proto3";
package probe.v1;
message Probe {{
  {field}
}}
"""
ONE, RETYPED = "string name = 1;", "int64 name = 1;"


class Repository:
    """A git repository with the script and one contract."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "scripts").mkdir(parents=True)
        shutil.copy(ROOT / "scripts" / "buf_breaking.sh", folder / "scripts")
        (folder / "buf.yaml").write_text("version: v2\nmodules:\n  - path: protos\nbreaking:\n  use: [FILE]\n")
        self.git("init", "--quiet", "--initial-branch=main")

    def git(self, *arguments: str) -> None:
        identity = ["-c", "user.name=tester", "-c", "user.email=tester@example.org"]
        subprocess.run(["git", *identity, *arguments], cwd=self.folder, check=True, capture_output=True)

    def write(self, field: str) -> None:
        place = self.folder / "protos" / "probe" / "v1" / "probe.proto"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(PROTO.format(field=field))

    def commit(self, note: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", note)

    def check(self) -> tuple[int, str]:
        env = {**os.environ, "BUF": str(Path(sys.executable).with_name("buf"))}
        run = subprocess.run(
            ["bash", "scripts/buf_breaking.sh"],
            cwd=self.folder,
            env=env,
            check=False,
            capture_output=True,
            text=True,
        )
        return run.returncode, run.stdout + run.stderr


@pytest.fixture
def repository(tmp_path):
    repository = Repository(tmp_path / "repository")
    repository.commit("without contracts")
    repository.write(ONE)
    repository.commit("the first contracts")
    return repository


def test_the_first_contracts_break_nothing_and_it_is_said(repository):
    code, said = repository.check()
    assert (code, "nothing to break" in said) == (0, True)


def test_what_is_not_committed_is_compared_with_main(repository):
    repository.write(RETYPED)
    code, said = repository.check()
    assert code != 0
    assert "changed type" in said


def test_the_last_commit_of_a_clean_main_is_compared_with_the_one_before(repository):
    repository.commit("something else")
    code, said = repository.check()
    assert (code, "break nothing of" in said) == (0, True)
    repository.write(RETYPED)
    repository.commit("a breaking change")
    code, said = repository.check()
    assert code != 0
    assert "changed type" in said


def test_a_tag_is_the_yardstick_however_many_commits_ago(repository):
    repository.git("tag", "v1")
    repository.write(RETYPED)
    repository.commit("a breaking change")
    repository.commit("something else")
    code, said = repository.check()
    assert code != 0
    assert "changed type" in said


def test_a_cut_off_history_is_skipped_by_name(repository, tmp_path):
    repository.commit("something else")
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", "--depth", "1", repository.folder.as_uri(), str(clone))
    repository.folder = clone
    code, said = repository.check()
    assert (code, "SKIPPED" in said, "fetch it whole" in said) == (0, True, True)
