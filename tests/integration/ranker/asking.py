"""Asking the ranker of the trained world, and waiting for what comes about."""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager

from fusionrec.common.v1 import item_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb

START_S = 240.0
"""TensorFlow takes its time to start on a busy machine, seconds."""


def ask(ranker, user="15", k=10, **options):
    context = options.pop("context", None) or pb.RankingContext(user_id=user)
    return ranker.Recommend(pb.RecommendRequest(context=context, k=k, **options), timeout=20)


def fresh():
    """A filter that nobody has asked with: the answer is computed, not one that is given again."""
    return item_pb2.ItemFilter(exclude_item_ids=[uuid.uuid4().hex])


def eventually(check, seconds=20.0):
    until = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)
    return found


def named(answer):
    return {one.component: one.fallback for one in answer.degraded}


@contextmanager
def up_again(ranker, *processes):
    """Whatever becomes of the test: what it killed runs again, and nothing is degraded for the tests after it."""
    try:
        yield
    finally:
        for process in processes:
            if not process.is_running:
                process.start()
            process.wait_ready(START_S)
        eventually(lambda: named(ask(ranker, filter=fresh(), skip_impressions=True)) == {})
