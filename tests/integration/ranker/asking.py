"""Asking the ranker of the trained world, and waiting for what comes about."""

from __future__ import annotations

import threading
import time
import uuid
from contextlib import contextmanager

import grpc
from fusionrec.common.v1 import item_pb2
from fusionrec.ranker.v1 import ranker_service_pb2 as pb


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
def calling(ranker, callers=2):
    """Recommend calls go on meanwhile; yields the versions that answered, in order of their first, and what failed."""
    versions, failures, stop = {}, [], threading.Event()

    def caller():
        while not stop.is_set():
            try:
                answer = ask(ranker, k=5, filter=fresh(), skip_impressions=True)
                versions.setdefault(next(one.version for one in answer.served_by.models if one.kind == "ranker"))
                failures.extend(named(answer))
            except grpc.RpcError as error:
                failures.append(error.details())

    threads = [threading.Thread(target=caller) for _ in range(callers)]
    for thread in threads:
        thread.start()
    try:
        yield versions, failures
    finally:
        stop.set()
        for thread in threads:
            thread.join()
