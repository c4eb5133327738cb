"""Waits for running services before work that would otherwise be done without them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from shared.cli.addresses import SERVICES
from shared.cli.console import Refusal, spinner

if TYPE_CHECKING:
    from collections.abc import Sequence

    from shared.cli.calls import Services

NEEDED = ("ingestion", "embedding")
"""What training and evaluation need ready: without the encoder they would measure poorer answers, or none."""
WARM_UP_S = 300.0
"""Time that services get to warm up, seconds: the encoder compiles its shapes."""
POLL_S = 0.5


def await_live(services: Services) -> None:
    """Waits until all five answer, trained or not.

    Raises:
        Refusal: one does not within the time of warming up.

    """
    until = time.monotonic() + WARM_UP_S
    with spinner("waiting until all five answer"):
        while late := [name for name in SERVICES if not services.live(name)]:
            if time.monotonic() > until:
                raise Refusal(f"{', '.join(late)} did not start within {WARM_UP_S:.0f} s: see the logs")
            time.sleep(POLL_S)


def await_ready(services: Services, names: Sequence[str] = NEEDED) -> None:
    """Waits until the named services say SERVING. One that does not answer at all is refused at once.

    Raises:
        Refusal: one does not answer, or is not ready in time.

    """
    late = [name for name in names if not services.ready(name)]
    if not late:
        return
    until = time.monotonic() + WARM_UP_S
    with spinner(f"waiting for {', '.join(late)} to warm up"):
        while late:
            silent = [name for name in late if not services.live(name, timeout_s=5.0)]
            if silent:
                raise Refusal(
                    f"no services at {services.addresses.address(silent[0])} ({silent[0]} does not answer): "
                    "run `fusionrec up`, or say where they are with --port-base"
                )
            if time.monotonic() > until:
                raise Refusal(f"{', '.join(late)} did not become ready within {WARM_UP_S:.0f} s: see the logs")
            time.sleep(POLL_S)
            late = [name for name in late if not services.ready(name)]
