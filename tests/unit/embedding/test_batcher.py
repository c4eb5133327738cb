from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest

from services.embedding.batching.batcher import Batcher
from services.embedding.batching.job import Priority
from services.embedding.encoders.model import ModelFacts
from shared.errors import DeadlineExceeded, FusionrecError, Overloaded, ShuttingDown

BUCKETS = (4, 8, 16)


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
        return np.array([[sum(row), len(row)] for row in rows], np.float32)

    def warm(self, go_on):
        pass


def make(encoder, **options):
    budgets = {"streams": 1, "batch_texts": 4, "batch_tokens": 32, "queue_texts": 20, **options}
    return Batcher(encoder, buckets=BUCKETS, **budgets)


@pytest.fixture
def encoder():
    return SumEncoder()


@pytest.fixture
def batcher(encoder):
    batcher = make(encoder)
    yield batcher
    encoder.gate.set()
    batcher.close()


def occupy(batcher, encoder):
    """Makes the batcher compute one batch that lasts until the gate opens; what is submitted then must queue."""
    future = batcher.submit([[7]], Priority.INTERACTIVE)
    assert encoder.entered.acquire(timeout=10)
    return future


def test_every_row_gets_its_own_vector_whatever_the_batches(batcher, encoder):
    encoder.gate.set()
    rows = [[n] * (1 + n % 13) for n in range(19)]
    vectors = batcher.submit(rows, Priority.INTERACTIVE).result(10).vectors
    assert vectors.tolist() == [[sum(row), len(row)] for row in rows]


def test_rows_of_many_callers_share_batches(batcher, encoder):
    occupy(batcher, encoder)
    futures = [batcher.submit([[n]], Priority.INTERACTIVE) for n in (1, 2, 3)]
    encoder.gate.set()
    wait(futures, 10)
    assert encoder.batches[1:] == [[[1], [2], [3]]]


def test_an_encoder_that_pads_gets_texts_of_one_length_class_at_a_time():
    encoder = SumEncoder(packs=False)
    batcher = make(encoder, batch_texts=6)
    occupy(batcher, encoder)
    futures = [batcher.submit([[n], [n] * 5], Priority.INTERACTIVE) for n in (1, 2, 3)]
    encoder.gate.set()
    wait(futures, 10)
    batcher.close()
    assert sorted(encoder.batches[1:], key=len) == [[[1] * 5, [2] * 5, [3] * 5], [[1], [2], [3]]]


def test_batches_keep_both_budgets(batcher, encoder):
    occupy(batcher, encoder)
    short = batcher.submit([[1]] * 6, Priority.INTERACTIVE)
    long = batcher.submit([[2] * 12] * 3 + [[3] * 60], Priority.INTERACTIVE)
    encoder.gate.set()
    wait([short, long], 10)
    # At most 4 texts and 32 tokens; a row over the budget runs alone.
    batches = encoder.batches[1:]
    assert all(len(batch) <= 4 for batch in batches)
    assert all(sum(map(len, batch)) <= 32 for batch in batches if len(batch) > 1)
    assert [[3] * 60] in batches
    assert sum(map(len, batches)) == 10


def test_interactive_rows_go_before_bulk_rows_that_came_first(batcher, encoder):
    occupy(batcher, encoder)
    bulk = batcher.submit([[1]] * 8, Priority.BULK)
    interactive = batcher.submit([[9]], Priority.INTERACTIVE)
    encoder.gate.set()
    wait([bulk, interactive], 10)
    assert encoder.batches[1] == [[9]]
    assert [len(batch) for batch in encoder.batches[2:]] == [4, 4]


def test_cancelled_rows_are_never_computed(batcher, encoder):
    occupy(batcher, encoder)
    gone = batcher.submit([[5], [5] * 10], Priority.INTERACTIVE)
    stays = batcher.submit([[6]], Priority.INTERACTIVE)
    assert gone.cancel()
    encoder.gate.set()
    assert stays.result(10).vectors.tolist() == [[6, 1]]
    assert encoder.batches[1:] == [[[6]]]


def test_a_cancelled_row_between_others_is_passed_over(batcher, encoder):
    occupy(batcher, encoder)
    first = batcher.submit([[1]], Priority.INTERACTIVE)
    gone = batcher.submit([[2]], Priority.INTERACTIVE)
    last = batcher.submit([[3]], Priority.INTERACTIVE)
    gone.cancel()
    encoder.gate.set()
    wait([first, last], 10)
    assert encoder.batches[1:] == [[[1], [3]]]


def test_a_length_class_with_cancelled_rows_only_does_not_stop_the_others(batcher, encoder):
    occupy(batcher, encoder)
    gone = batcher.submit([[2] * 10], Priority.INTERACTIVE)
    stays = batcher.submit([[3]], Priority.INTERACTIVE)
    gone.cancel()
    encoder.gate.set()
    assert stays.result(10).vectors.tolist() == [[3, 1]]


def test_expired_rows_are_never_computed_and_say_so(batcher, encoder):
    occupy(batcher, encoder)
    late = batcher.submit([[5]], Priority.INTERACTIVE, time.monotonic() - 1)
    in_time = batcher.submit([[6]], Priority.INTERACTIVE, time.monotonic() + 60)
    encoder.gate.set()
    assert in_time.result(10).vectors.tolist() == [[6, 1]]
    with pytest.raises(DeadlineExceeded):
        late.result(10)
    assert encoder.batches[1:] == [[[6]]]


def test_full_queue_refuses_whole_jobs_and_says_when_to_retry(batcher, encoder):
    occupy(batcher, encoder)
    batcher.submit([[1]] * 15, Priority.BULK)
    with pytest.raises(Overloaded) as refused:
        batcher.submit([[2]] * 6, Priority.INTERACTIVE)
    assert refused.value.retry_after_s > 0
    assert "20" in refused.value.message
    batcher.submit([[2]] * 5, Priority.INTERACTIVE)


def test_cancelled_rows_free_their_places_in_a_full_queue(batcher, encoder):
    occupy(batcher, encoder)
    gone = batcher.submit([[1]] * 20, Priority.BULK)
    gone.cancel()
    future = batcher.submit([[2]] * 20, Priority.BULK)
    encoder.gate.set()
    assert len(future.result(10).vectors) == 20


def test_engine_failure_reaches_its_callers_and_the_thread_lives_on(batcher, encoder):
    encoder.gate.set()
    with pytest.raises(FusionrecError) as failed:
        batcher.submit([[-1]], Priority.INTERACTIVE).result(10)
    assert "negative" not in failed.value.message
    assert batcher.submit([[3]], Priority.INTERACTIVE).result(10).vectors.tolist() == [[3, 1]]


def test_close_fails_what_waits_and_refuses_what_comes(encoder):
    batcher = make(encoder)
    running = occupy(batcher, encoder)
    waiting = batcher.submit([[1]], Priority.INTERACTIVE)
    closing = threading.Thread(target=batcher.close)
    closing.start()
    with pytest.raises(ShuttingDown):
        waiting.result(10)
    encoder.gate.set()
    closing.join(10)
    assert running.result(10).vectors.tolist() == [[7, 1]]
    with pytest.raises(ShuttingDown):
        batcher.submit([[1]], Priority.INTERACTIVE)


def test_waiting_and_working_time_are_told_apart(batcher, encoder):
    occupy(batcher, encoder)
    future = batcher.submit([[1]], Priority.INTERACTIVE)
    waited_for = 0.05
    time.sleep(waited_for)
    encoder.gate.set()
    encoded = future.result(10)
    assert encoded.queue_s >= waited_for
    assert encoded.compute_s > 0


def test_many_threads_at_once(batcher, encoder):
    encoder.gate.set()
    wrong = []

    def work(seed):
        for n in range(20):
            row = [seed * 100 + n] * (1 + n % 5)
            if batcher.submit([row], Priority(1 + n % 2)).result(10).vectors.tolist() != [[sum(row), len(row)]]:
                wrong.append(row)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not wrong


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
