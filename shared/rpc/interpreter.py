"""The interpreter's own settings in a process that serves calls: no thread and no collection may stop it for long."""

from __future__ import annotations

import gc
import sys

SWITCH_INTERVAL_S = 0.000_5
"""How long a thread may keep the interpreter to itself. Answers are computed in short steps that give it away (numpy,
FAISS) and must have it back each time: with Python's 5 ms, a thread that decodes or follows the log holds them up."""
GC_THRESHOLDS = (10_000, 10, 100)
"""A full collection looks at every object there is, a quarter of a second for the histories and catalogue of MovieLens,
and Python's own thresholds (700, 10, 10) begin one every few seconds where much is written. Nearly all that calls
leave behind is freed by reference counting."""


def settle() -> None:
    """Applies them to this process."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.set_threshold(*GC_THRESHOLDS)
