"""Who goes first when much waits, how streams share it, and the advice of when to retry."""

from __future__ import annotations

from concurrent.futures import wait

import pytest

from services.embedding.batching.job import Priority
from shared.errors import Overloaded

from .gated_encoder import SumEncoder, make, occupy


@pytest.fixture
def encoder():
    return SumEncoder()


def test_a_single_text_does_not_wait_for_the_thousand_before_it(encoder):
    batcher = make(encoder, queue_texts=2000)
    occupy(batcher, encoder)
    large = batcher.submit([[1] * 8] * 1000, Priority.INTERACTIVE)
    single = batcher.submit([[9]], Priority.INTERACTIVE)
    encoder.gate.set()
    wait([large, single], 10)
    batcher.close()
    assert [[9] in batch for batch in encoder.batches[:4]].count(True) == 1


def test_jobs_of_equal_size_advance_together(encoder):
    batcher = make(encoder, queue_texts=2000, batch_texts=64, batch_tokens=256)
    occupy(batcher, encoder)
    jobs = [batcher.submit([[n] * 4] * 256, Priority.BULK) for n in (1, 2, 3)]
    encoder.gate.set()
    wait(jobs, 10)
    batcher.close()
    done = dict.fromkeys((1, 2, 3), 0)
    for batch in encoder.batches[1:]:
        for row in batch:
            done[row[0]] += 1
        # Two turns of 128 tokens, 32 texts, at most apart.
        assert max(done.values()) - min(done.values()) <= 64


def test_bulk_advances_however_much_interactive_work_waits(encoder):
    batcher = make(encoder, queue_texts=2000)
    occupy(batcher, encoder)
    bulk = batcher.submit([[1] * 8] * 4, Priority.BULK)
    interactive = batcher.submit([[2] * 8] * 400, Priority.INTERACTIVE)
    encoder.gate.set()
    wait([bulk, interactive], 10)
    batcher.close()
    place = next(number for number, batch in enumerate(encoder.batches) if batch[0][0] == 1)
    # The first comes at once: nothing of it was passed over for it yet to be the eighth.
    assert place <= 8


def test_streams_compute_side_by_side_and_share_what_waits(encoder):
    batcher = make(encoder, streams=3, batch_texts=64, batch_tokens=512, queue_texts=2000)
    job = batcher.submit([[1] * 8] * 200, Priority.BULK)
    for _ in range(3):
        # All three are computing while the gate is closed.
        assert encoder.entered.acquire(timeout=10)
    encoder.gate.set()
    assert job.result(10).vectors.tolist() == [[8, 8]] * 200
    batcher.close()
    assert max(map(len, encoder.batches)) <= 64


def test_rows_of_a_job_that_streams_share_come_back_in_order(encoder):
    encoder.gate.set()
    batcher = make(encoder, streams=4, queue_texts=2000)
    jobs = [[[n + m] * (1 + (n * m) % 9) for n in range(100)] for m in range(8)]
    futures = [batcher.submit(rows, Priority.BULK) for rows in jobs]
    for rows, future in zip(jobs, futures, strict=True):
        assert future.result(10).vectors.tolist() == [[sum(row), len(row)] for row in rows]
    batcher.close()


def test_advice_of_when_to_retry_grows_with_what_waits(encoder):
    def advice(texts, tokens):
        batcher = make(encoder, queue_texts=4000)
        occupy(batcher, encoder)
        batcher.submit([[1] * tokens] * texts, Priority.BULK)
        with pytest.raises(Overloaded) as refused:
            batcher.submit([[2]] * 1000, Priority.BULK)
        encoder.gate.set()
        batcher.close()
        encoder.gate.clear()
        return refused.value.retry_after_s

    few, many, longer = advice(3500, 2), advice(4000, 2), advice(4000, 16)
    # 500 of 3,500 must go first, then 1,000 of 4,000: at the same rate twice as long, and longer texts take longer.
    assert many == pytest.approx(2 * few, rel=0.01)
    assert longer == pytest.approx(min(8 * many, 10), rel=0.01)
