from __future__ import annotations

import threading

import numpy as np

from services.embedding.cache.lru import TextVector, VectorCache, text_key


def entry(number):
    return TextVector(np.array([number], np.float32), 1, truncated=False, unknown_share=0.0)


def test_least_recently_used_goes_first():
    cache = VectorCache(2)
    cache.put_many({b"a": entry(1), b"b": entry(2)})
    cache.get_many([b"a"])
    cache.put_many({b"c": entry(3)})
    assert set(cache.get_many([b"a", b"b", b"c"])) == {b"a", b"c"}
    assert len(cache) == 2


def test_one_put_larger_than_the_cache_stays_bounded():
    cache = VectorCache(3)
    cache.put_many({bytes([n]): entry(n) for n in range(10)})
    assert len(cache) == 3


def test_zero_keeps_nothing():
    cache = VectorCache(0)
    cache.put_many({b"a": entry(1)})
    assert cache.get_many([b"a"]) == {}


def test_key_depends_on_version_and_text_and_their_border():
    assert len({text_key("v", "ab"), text_key("w", "ab"), text_key("va", "b"), text_key("v", "AB")}) == 4


def test_threads_keep_the_bound():
    cache = VectorCache(50)

    def work(seed):
        for n in range(300):
            key = bytes([seed, n % 256])
            cache.put_many({key: entry(n)})
            found = cache.get_many([key])
            assert all(len(value.vector) == 1 for value in found.values())

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(cache) == 50
