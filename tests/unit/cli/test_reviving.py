"""Services that die are started again, more and more slowly, and given up at last. Real processes, a clock by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shared.cli.processes import Child
from shared.cli.reviving import LONGEST_PAUSE_S, MAX_DEATHS, WINDOW_S, Reviver
from shared.cli.watching import DEAD, SERVING, State


class Ward:
    """One child and its reviver; the child's process ends when it is told to, with a code."""

    def __init__(self, tmp_path) -> None:
        self.now = 0.0
        self.said: list[str] = []
        self.starts = 0
        log = tmp_path / "ranker.log"
        log.write_text("first line\nlast line\n")
        self.child = Child("ranker", self._process(), log)
        self.reviver = Reviver(self._restart, self.said.append, lambda: self.now)
        self.look()

    def _process(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", "import sys; sys.exit(int(input()))"], stdin=subprocess.PIPE)

    def _restart(self, child: Child) -> None:
        self.starts += 1
        child.process = self._process()

    def look(self, later: float = 0.0) -> bool:
        self.now += later
        return self.reviver.look(self.child)

    def die(self, code: int = 1) -> None:
        self.child.process.communicate(b"%d\n" % code)

    def pause(self) -> float:
        """Lets the child die, and returns after how many seconds (to a tenth) it is started again."""
        self.die()
        assert not self.look()
        tenths = 0
        while not self.look(0.1):
            tenths += 1
            assert tenths < 10 * LONGEST_PAUSE_S + 10
        return round(tenths / 10)


@pytest.fixture
def ward(tmp_path):
    ward = Ward(tmp_path)
    yield ward
    ward.child.process.kill()
    ward.child.process.communicate()


def test_one_that_lives_is_left_alone(ward):
    assert not ward.look(WINDOW_S)
    assert (ward.starts, ward.said, ward.reviver.given_up) == (0, [], [])
    assert ward.reviver.seen(ward.child, State(SERVING)) == State(SERVING)


def test_a_death_is_told_once_with_the_log_and_the_plan(ward):
    ward.die(3)
    ward.look()
    ward.look(0.5)
    (told,) = ward.said
    assert told.startswith("ranker ended with exit code 3.")
    assert "  | last line" in told
    assert told.endswith("ranker: started again after 1 s")
    state = ward.reviver.seen(ward.child, State(DEAD, "ended with exit code 3"))
    assert state == State(DEAD, "ended with exit code 3; started again after 1 s")
    assert ward.look(0.6)
    assert ward.reviver.seen(ward.child, State(SERVING)) == State(SERVING)


def test_the_pause_doubles_and_after_five_deaths_in_two_minutes_it_is_given_up(ward):
    assert [ward.pause() for _ in range(MAX_DEATHS - 1)] == [1, 2, 4, 8]
    ward.die()
    ward.look()
    assert ward.reviver.given_up == ["ranker"]
    assert ward.said[-1].endswith("ranker: given up, 5 deaths within 120 s; the others keep running")
    assert not ward.look(10 * WINDOW_S)
    assert (ward.starts, len(ward.said)) == (MAX_DEATHS - 1, MAX_DEATHS)


def test_one_that_dies_now_and_then_is_never_given_up_and_the_pause_has_an_end(ward):
    pauses = []
    for _ in range(8):
        ward.look(WINDOW_S / 3)
        pauses.append(ward.pause())
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert ward.reviver.given_up == []


def test_one_that_lived_for_long_begins_anew(ward):
    assert [ward.pause() for _ in range(3)] == [1, 2, 4]
    ward.look(WINDOW_S)
    assert ward.pause() == 1


def test_wrong_settings_are_given_up_at_once(ward):
    ward.die(2)
    ward.look()
    assert ward.reviver.given_up == ["ranker"]
    assert ward.said[-1].endswith("ranker: given up, its settings are wrong; the others keep running")
    assert not ward.look(10 * WINDOW_S)
