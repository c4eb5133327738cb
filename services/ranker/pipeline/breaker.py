"""A circuit breaker: a neighbour that hangs costs its timeout on a few calls, not on every one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeVar

import structlog

from shared.errors import DependencyUnavailable
from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = structlog.get_logger(__name__)

T = TypeVar("T")

HANG_SHARE = 0.9
"""A call hangs when it fails after this share of the patience: timers are not exact."""


class Breaker:
    """Closed: calls go through. After `failures` hanging calls in a row it opens: calls fail at once.

    After `open_s` seconds one call is let through to probe (half-open): when it succeeds the circuit closes, when it
    hangs too it stays open as long again. A call that fails sooner than `patience_s` does not hang: a caller with less
    time to give says nothing of the neighbour, and a refusal at once costs nothing. 0 `failures` leaves the circuit
    closed for ever. For one event loop.
    """

    def __init__(
        self,
        component: str,
        patience_s: float,
        *,
        failures: int,
        open_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._component = component
        self._hang_s = HANG_SHARE * patience_s
        self._failures = failures
        self._open_s = open_s
        self._clock = clock
        self._hung = 0
        self._opened_at: float | None = None
        self._probing = False

    @property
    def is_open(self) -> bool:
        """True while calls fail at once, the probe aside."""
        return self._opened_at is not None

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """Returns what `work` returns.

        Raises:
            DependencyUnavailable: the circuit is open, or the neighbour did not answer.

        """
        probing = self._admit()
        began = self._clock()
        try:
            answer = await work()
        except DependencyUnavailable:
            self._failed(self._clock() - began)
            raise
        except Exception:
            # A refusal is an answer.
            self._succeeded()
            raise
        else:
            self._succeeded()
            return answer
        finally:
            if probing:
                self._probing = False

    def _admit(self) -> bool:
        if self._opened_at is None:
            return False
        left = self._opened_at + self._open_s - self._clock()
        if left > 0 or self._probing:
            when = f"in {max(left, 0.0):.1f} s" if left > 0 else "and is being tried now"
            raise DependencyUnavailable(self._component, f"it hung on {self._hung} calls; it is asked again {when}")
        self._probing = True
        return True

    def _failed(self, waited_s: float) -> None:
        if waited_s < self._hang_s:
            # It says nothing. After a probe of that kind the next call probes.
            return
        self._hung += 1
        if self._failures and self._hung >= self._failures:
            if self._opened_at is None:
                log.warning("a neighbour hangs and is not asked any more", neighbour=self._component, calls=self._hung)
                metrics.CIRCUIT_OPEN.labels(self._component).set(1)
            self._opened_at = self._clock()

    def _succeeded(self) -> None:
        self._hung = 0
        if self._opened_at is not None:
            self._opened_at = None
            log.info("a neighbour that hung answers again", neighbour=self._component)
            metrics.CIRCUIT_OPEN.labels(self._component).set(0)
