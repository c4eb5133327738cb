"""Timings of the stages of one call, for the reply and for the metrics."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from shared.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class StageTime:
    """Time of one stage: waiting and working, microseconds."""

    stage: str
    queue_us: int
    compute_us: int


@dataclass
class Stages:
    """Collects the stage times of one call, in order."""

    service: str
    times: list[StageTime] = field(default_factory=list)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Times the block as stage `name`; also when it raises."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - started)

    def add(self, name: str, compute_s: float, queue_s: float = 0.0) -> None:
        """Adds a stage that was timed elsewhere, seconds."""
        self.times.append(StageTime(name, int(queue_s * 1e6), int(compute_s * 1e6)))
        metrics.STAGE_SECONDS.labels(self.service, name).observe(compute_s)
