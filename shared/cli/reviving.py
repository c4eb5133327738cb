"""Starts services again that died, more and more slowly, until it is plain that they cannot be kept alive."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING

from shared.cli.watching import DEAD, State, dying_words
from shared.rpc.settings import WRONG_SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.cli.processes import Child

FIRST_PAUSE_S = 1.0
"""Pause before the first new start, seconds; it doubles with every death that comes soon after the one before."""
LONGEST_PAUSE_S = 30.0
MAX_DEATHS = 5
WINDOW_S = 120.0
"""A service that dies `MAX_DEATHS` times within this time is given up; one that lived for so long begins anew."""


class Reviver:
    """Looks after the children of one fleet, from the thread that started them.

    Args:
        restart: starts a child again.
        say: told of every death with the last log lines, and of what is done about it.
        clock: seconds, never going back.

    """

    def __init__(
        self,
        restart: Callable[[Child], None],
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._restart = restart
        self._say = say
        self._clock = clock
        self._known: dict[str, _Patient] = {}

    @property
    def given_up(self) -> list[str]:
        """The services that are not started again."""
        return [name for name, patient in self._known.items() if patient.given_up]

    def look(self, child: Child) -> bool:
        """Notices a death; starts the child when its time has come. Returns whether it was started."""
        patient = self._known.setdefault(child.service, _Patient(self._clock()))
        if child.running or patient.given_up:
            return False
        now = self._clock()
        if patient.due_at is None:
            patient.died(now, hopeless=child.process.returncode == WRONG_SETTINGS)
            self._say(f"{dying_words(child)}\n{child.service}: {patient.plan}")
            return False
        if now < patient.due_at:
            return False
        patient.started(now)
        self._restart(child)
        return True

    def seen(self, child: Child, state: State) -> State:
        """Returns the state with what will be done, where it is that of a dead child."""
        patient = self._known.get(child.service)
        if patient is None or state.state != DEAD or not patient.plan:
            return state
        return State(DEAD, f"{state.detail}; {patient.plan}")


class _Patient:
    """What is known of the deaths of one service."""

    def __init__(self, now: float) -> None:
        self._started_at = now
        self._deaths: deque[float] = deque(maxlen=MAX_DEATHS)
        self._pause_s = FIRST_PAUSE_S
        self.due_at: float | None = None
        """When it is started again; None while it lives."""
        self.given_up = False
        self.plan = ""

    def died(self, now: float, *, hopeless: bool) -> None:
        """Notes a death and decides; `hopeless`: another start would end the same way."""
        self._deaths.append(now)
        if now - self._started_at >= WINDOW_S:
            self._pause_s = FIRST_PAUSE_S
        many = len(self._deaths) == MAX_DEATHS and now - self._deaths[0] <= WINDOW_S
        if hopeless or many:
            self.given_up = True
            reason = "its settings are wrong" if hopeless else f"{MAX_DEATHS} deaths within {WINDOW_S:.0f} s"
            self.plan = f"given up, {reason}; the others keep running"
            return
        self.due_at = now + self._pause_s
        self.plan = f"started again after {self._pause_s:g} s"
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def started(self, now: float) -> None:
        """Notes a new start."""
        self._started_at = now
        self.due_at = None
        self.plan = ""
