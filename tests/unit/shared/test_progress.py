"""How a job tells of its progress: to a terminal, to a file, to a program."""

from __future__ import annotations

import io
import json

from shared.telemetry import progress as progresses
from shared.telemetry.progress import open_progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_json_progress_is_one_object_a_line_and_always_tells_of_begin_and_end():
    stream = io.StringIO()
    with open_progress("json", stream) as progress:
        for done in range(1, 1001):
            progress.update("measure als", done, 1000)
        progress.update("measure fusion", 1, 1000)
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert lines[0] == {"stage": "measure als", "done": 1, "total": 1000}
    assert lines[-2:] == [
        {"stage": "measure als", "done": 1000, "total": 1000},
        {"stage": "measure fusion", "done": 1, "total": 1000},
    ]
    assert len(lines) < 1001


def test_plain_progress_is_lines_where_nobody_looks():
    stream = io.StringIO()
    with open_progress("auto", stream) as progress:
        progress.update("read log", 5000, 0)
        progress.update("measure als", 656, 656)
    assert stream.getvalue().splitlines() == ["read log: 5000", "measure als: 656/656"]


def test_intervals_are_kept(monkeypatch):
    now = 0.0
    monkeypatch.setattr(progresses.time, "monotonic", lambda: now)
    stream = io.StringIO()
    with open_progress("auto", stream) as progress:
        for done in range(1, 13):
            now = float(done)
            progress.update("measure als", done, 100)
    assert stream.getvalue().splitlines() == ["measure als: 1/100", "measure als: 6/100", "measure als: 11/100"]


def test_a_terminal_gets_bars():
    stream = Terminal()
    with open_progress("auto", stream) as progress:
        progress.update("measure als", 1, 2)
        progress.update("measure als", 2, 2)
    assert "measure als" in stream.getvalue()
    assert "2/2" in stream.getvalue()
