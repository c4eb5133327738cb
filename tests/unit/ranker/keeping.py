"""What tests of kept answers share."""

from __future__ import annotations

from prometheus_client import REGISTRY


class Clock:
    """The monotonic clock of a house; what it is built with was written long before."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def in_memory():
    return REGISTRY.get_sample_value("fusionrec_reply_cache_results")


async def asked(house, **options):
    """Asks, and returns the answer and whether candidates were asked for it."""
    before = len(house.near.queries)
    answer = await house.ask(**options)
    return answer, len(house.near.queries) > before


def ids(answer):
    return [one.item_id for one in answer.results]
