"""All forms of what may come say the same, however it was narrowed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from services.candidates.index.allowed import Allowed

MASKS = st.lists(st.booleans(), min_size=1, max_size=70).map(lambda values: np.array(values, bool))


def check(allowed, mask):
    rows = np.flatnonzero(mask)
    everyone = np.arange(len(mask))
    np.testing.assert_array_equal(allowed.has(everyone), mask)
    np.testing.assert_array_equal(np.unpackbits(allowed.bits, bitorder="little")[: len(mask)].astype(bool), mask)
    np.testing.assert_array_equal(allowed.mask, mask)
    np.testing.assert_array_equal(allowed.rows, rows)
    assert (len(allowed), allowed.count) == (len(mask), len(rows))


@given(mask=MASKS, other=MASKS, data=st.data())
def test_forms_agree(mask, other, data):
    out = np.array(data.draw(st.lists(st.integers(0, len(mask) - 1), max_size=9)), np.int64)
    start = data.draw(st.integers(0, len(mask)))
    shared = min(len(mask), len(other))
    without, within, late = mask.copy(), np.zeros(len(mask), bool), mask.copy()
    without[out] = False
    within[:shared] = without[:shared] & other[:shared]
    late[:start] = False

    check(Allowed(mask), mask)
    check(Allowed(mask).without(out), without)
    check(Allowed(mask).without(out).within(Allowed(other)), within)
    check(Allowed(mask).from_row(start), late)
    check(Allowed.everything(len(mask)).without(out).without(np.flatnonzero(~mask)), without)
