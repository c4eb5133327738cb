"""Jobs as processes: progress drawn, output kept, failures told with their last words."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from shared.cli.console import Refusal
from shared.cli.jobs import Jobs
from shared.cli.session import Session
from shared.cli.workspace import Workspace


@pytest.fixture
def job(tmp_path, monkeypatch):
    """Returns a runner of real Python processes in the place of a service's module."""

    def run(code):
        jobs = Jobs(Session(Workspace(tmp_path), None))
        monkeypatch.setattr(Jobs, "_launch", lambda *_: ([sys.executable, "-c", code], None, None))
        return jobs.run("ranker", [], "train ranker")

    return run


def test_output_is_returned_and_progress_drawn(job, capsys):
    progress = '{"stage": "features", "done": 5, "total": 5}'
    assert job(f"import sys; print('answer'); print('{progress}', file=sys.stderr)") == "answer\n"
    said = capsys.readouterr()
    assert "train ranker: features: done" in said.err
    assert said.out == ""


def test_much_output_on_both_streams_does_not_block(job):
    code = "import sys\nfor n in range(20000): print('x' * 50); print('y' * 50, file=sys.stderr)"
    assert len(job(code)) == 20000 * 51


def test_a_failure_ends_with_the_last_lines(job):
    progress = '{"stage": "a", "done": 1, "total": 2}'
    code = f"import sys; print('{progress}', file=sys.stderr); print('the reason', file=sys.stderr); sys.exit(3)"
    with pytest.raises(Refusal, match=r"train ranker failed with exit code 3:\n  \| the reason") as failed:
        job(code)
    assert "stage" not in failed.value.message


def test_no_data_says_what_to_do_with_exit_code_2(job):
    with pytest.raises(Refusal, match="train ranker: no events: import some") as failed:
        job("import sys; print('no events: import some', file=sys.stderr); sys.exit(2)")
    assert failed.value.exit_code == 2


def test_the_module_of_the_service_is_started(tmp_path):
    with pytest.raises(Refusal, match="no-such-command"):
        Jobs(Session(Workspace(tmp_path), None)).run("ingestion", ["no-such-command"], "job")


def test_compose_jobs_run_in_the_services_container(tmp_path, monkeypatch):
    """The command line is put together by the real code, and run by a program that prints it."""
    tool = tmp_path / "docker-compose"
    tool.write_text('#!/bin/sh\ntest -f docker-compose.yml && echo "$@"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    said = Jobs(Session(Workspace(tmp_path), None), "compose").run("candidates", ["train"], "train candidates")
    assert said.split() == ["exec", "-T", "candidates", "python", "-m", "services.candidates", "train"]


def test_without_compose_it_says_so(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="neither `docker compose` nor `docker-compose`"):
        Jobs(Session(Workspace(tmp_path), None), "compose").run("candidates", ["train"], "train candidates")


def test_a_job_does_not_outlive_its_command():
    code = (
        "import subprocess, sys\n"
        "from shared.cli.processes import guarded\n"
        "child = subprocess.Popen(guarded([sys.executable, '-c', 'import time; time.sleep(60)']))\n"
        "print(child.pid, flush=True)\n"
        "child.wait()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        child = int(parent.stdout.readline())
        _wait_for(lambda: "time.sleep" in _command_line(child))
        parent.kill()
    _wait_for(lambda: not _command_line(child))


def _command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as file:  # noqa: PTH123 (vanishes while it is read)
            return file.read()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _wait_for(holds):
    until = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)
