"""Rows on their way through the batcher: batches, priorities, the bounded queue, failures."""

from __future__ import annotations

import threading
import time
from concurrent.futures import wait

import numpy as np
import pytest

from services.embedding.batching.job import Priority
from shared.errors import DeadlineExceeded, FusionrecError, Overloaded, ShuttingDown

from .gated_encoder import OVERFLOWS, SumEncoder, make, occupy


@pytest.fixture
def encoder():
    return SumEncoder()


@pytest.fixture
def batcher(encoder):
    batcher = make(encoder)
    yield batcher
    encoder.gate.set()
    batcher.close()


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


def test_a_row_that_is_not_finite_leaves_those_of_its_batch_alone(batcher, encoder):
    occupy(batcher, encoder)
    others = [batcher.submit([[n], [n] * 3], Priority.INTERACTIVE) for n in (1, 2)]
    wrong = batcher.submit([[OVERFLOWS], [5]], Priority.INTERACTIVE)
    encoder.gate.set()
    for n, future in zip((1, 2), others, strict=True):
        assert future.result(10).vectors.tolist() == [[n, 1], [3 * n, 3]]
    vectors = wrong.result(10).vectors
    assert np.isnan(vectors[0]).all()
    assert vectors[1].tolist() == [5, 1]
