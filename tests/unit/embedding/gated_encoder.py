"""An encoder that waits at a gate, and batchers on it."""

from __future__ import annotations

import threading

import numpy as np

from services.embedding.batching.batcher import Batcher
from services.embedding.batching.job import Priority
from services.embedding.encoders.model import ModelFacts

BUCKETS = (4, 8, 16)
OVERFLOWS = 666
"""Token id of which no finite vector comes."""


FACTS = {"version": "v", "family": "sum", "dim": 2, "max_tokens": 64, "parameters": 0, "weights_sha256": ""}


class SumEncoder:
    """An encoder whose vector is (sum of ids, number of ids); it computes only while `gate` is set."""

    def __init__(self, *, packs=True):
        self.facts = ModelFacts(**FACTS, engine="numpy", packs=packs)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.batches = []

    def encode(self, rows):
        self.entered.release()
        assert self.gate.wait(10)
        if any(row[0] < 0 for row in rows):
            raise RuntimeError("negative id")
        self.batches.append([list(row) for row in rows])
        vectors = np.array([[sum(row), len(row)] for row in rows], np.float32)
        if any(OVERFLOWS in row for row in rows):
            # As in a packed row, where a text that is not finite spoils all.
            vectors[:] = np.nan
        return vectors

    def warm(self, go_on):
        pass


def make(encoder, **options):
    budgets = {"streams": 1, "batch_texts": 4, "batch_tokens": 32, "queue_texts": 20, **options}
    return Batcher(encoder, buckets=BUCKETS, **budgets)


def occupy(batcher, encoder):
    """Makes the batcher compute one batch that lasts until the gate opens; what is submitted then must queue."""
    future = batcher.submit([[7]], Priority.INTERACTIVE)
    assert encoder.entered.acquire(timeout=10)
    return future
