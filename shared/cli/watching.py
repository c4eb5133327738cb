"""What the children are doing: asked of their health, told of their deaths."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from shared.cli.console import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.cli.calls import Services
    from shared.cli.processes import Child, Fleet

POLL_S = 0.25

STARTING, LIVE, SERVING, SILENT, DEAD = "starting", "live", "serving", "silent", "dead"


@dataclass(frozen=True)
class State:
    """What one child is doing.

    `starting`, `live` (answers, not ready; `detail` says why), `serving`, `silent` (has answered before) or `dead`.
    """

    state: str
    detail: str = ""


def state_of(child: Child, services: Services) -> State:
    """Asks one child."""
    if not child.running:
        return State(DEAD, child.ending())
    if services.ready(child.service):
        child.answered = True
        return State(SERVING)
    if services.live(child.service):
        child.answered = True
        return State(LIVE, services.reason(child.service) or "warming up")
    return State(SILENT, "does not answer at the moment") if child.answered else State(STARTING)


def dying_words(child: Child) -> str:
    """Returns how a child ended, with the last lines of its log."""
    tail = "\n".join(f"  | {line}" for line in child.tail()) or "  | (the log is empty)"
    return f"{child.service} {child.ending()}. The last lines of {child.log}:\n{tail}"


def wait_until(
    fleet: Fleet,
    services: Services,
    wanted: dict[str, str],
    *,
    timeout_s: float,
    on_state: Callable[[dict[str, State]], None] | None = None,
    interrupted: Callable[[], bool] = lambda: False,
) -> bool:
    """Waits until each named service is in the wanted state (LIVE is reached by SERVING, too).

    Returns False when `interrupted` said so first.

    Raises:
        Refusal: a child died, or the time is up; the message ends with the log.

    """
    until = time.monotonic() + timeout_s
    while not interrupted():
        states = {child.service: state_of(child, services) for child in fleet.children}
        if on_state is not None:
            on_state(states)
        dead = [child for child in fleet.children if states[child.service].state == DEAD]
        if dead:
            raise Refusal("\n".join(dying_words(child) for child in dead))
        late = [name for name, state in wanted.items() if states[name].state not in {state, SERVING}]
        if not late:
            return True
        if time.monotonic() > until:
            slow = [child for child in fleet.children if child.service in late]
            tails = "\n".join(f"{one.log}:\n" + "\n".join(f"  | {line}" for line in one.tail()) for one in slow)
            raise Refusal(f"{', '.join(late)} did not become {wanted[late[0]]} within {timeout_s:.0f} s\n{tails}")
        time.sleep(POLL_S)
    return False
