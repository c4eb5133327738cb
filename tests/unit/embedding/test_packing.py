from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from services.embedding.encoders.grouping import group_by_length
from services.embedding.encoders.packing import NOBODY, WIDTH, pack

TEXTS = st.lists(st.integers(1, 300), min_size=1, max_size=60).map(
    lambda lengths: [list(range(1000 * n, 1000 * n + length)) for n, length in enumerate(lengths)]
)


@given(TEXTS)
@settings(max_examples=60, deadline=None)
def test_every_token_is_there_once_beside_those_of_its_text(texts):
    packed = pack(texts, pad_id=-5)
    assert packed.ids.shape == packed.segments.shape == packed.positions.shape
    for number, text in enumerate(texts):
        rows, columns = np.nonzero(packed.segments == number)
        assert len(set(rows)) == 1
        assert packed.ids[rows, columns].tolist() == text
        assert packed.positions[rows, columns].tolist() == list(range(len(text)))
    empty = packed.segments == NOBODY
    assert (packed.ids[empty] == -5).all()
    assert (~empty).sum() == sum(map(len, texts))


def titles(random):
    texts, left = [], 512
    while left > 40:
        texts.append([1] * int(np.clip(random.lognormal(2.4, 0.3), 5, 40)))
        left -= len(texts[-1])
    return texts


def test_titles_leave_little_empty():
    random = np.random.default_rng(0)
    batches = [titles(random) for _ in range(100)]
    packed = [pack(texts, 0).ids for texts in batches]
    assert all(ids.shape[1] <= WIDTH + 16 for ids in packed)
    assert sum(ids.size for ids in packed) < 1.06 * sum(len(text) for texts in batches for text in texts)


def test_texts_of_nearly_one_length_have_a_row_each():
    assert pack([[1] * 12] * 40 + [[1] * 11], 0).ids.shape == (41, 12)
    assert pack([[1] * 9], 0).ids.shape == (1, 9)


@given(TEXTS, st.integers(32, 600))
@settings(max_examples=60, deadline=None)
def test_groups_hold_every_text_once_within_the_budget_and_of_one_class(texts, budget):
    lengths = [len(text) for text in texts]
    buckets = (8, 16, 64)
    groups = group_by_length(lengths, buckets, budget)
    assert sorted(index for group in groups for index in group) == list(range(len(texts)))
    for group in groups:
        own = [lengths[index] for index in group]
        assert len(group) == 1 or max(own) * len(own) <= budget
        assert len({np.searchsorted(buckets, length) for length in own}) == 1
