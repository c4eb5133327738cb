from __future__ import annotations

import pytest

from services.embedding.encoders.shapes import choose_shape

COMPILED = ((1, 16), (1, 32), (32, 16), (32, 32))


@pytest.mark.parametrize(
    ("rows", "tokens", "shape"),
    [
        (1, 14, (1, 16)),
        (1, 26, (1, 32)),
        (32, 16, (32, 16)),
        (30, 15, (32, 16)),
        (32, 30, (32, 32)),
        (1, 17, None),  # half of (1, 32) would be padding
        (8, 16, None),  # three quarters of (32, 16) would be padding
        (33, 16, None),  # larger than any
        (1, 33, None),  # longer than any
    ],
)
def test_shape_is_taken_only_where_padding_is_cheap(rows, tokens, shape):
    assert choose_shape(rows, tokens, COMPILED) == shape


def test_nothing_compiled():
    assert choose_shape(1, 1, ()) is None
