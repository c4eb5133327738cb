from __future__ import annotations

import numpy as np
import pytest

from services.embedding.attribution.path import Evaluated, integrate

TOKENS = np.array([1.0, -2.0, 0.5])


def along(value, slope):
    """A function of the path whose gradient is shared out in a fixed ratio."""
    calls = []

    def evaluate(points):
        calls.append(points)
        shares = TOKENS / TOKENS.sum()
        return Evaluated(value(points), slope(points)[:, None] * shares)

    return evaluate, calls


def test_a_polynomial_is_integrated_exactly_in_one_pass():
    evaluate, calls = along(lambda t: 3 * t**7 - t**2, lambda t: 21 * t**6 - 2 * t)
    found = integrate(evaluate, 1e-9, 1_000)
    assert found.parts.sum() == pytest.approx(2.0, abs=1e-12)
    np.testing.assert_allclose(found.parts, 2.0 * TOKENS / TOKENS.sum(), atol=1e-12)
    assert len(calls) == 1


@pytest.mark.parametrize("tolerance", [1e-2, 1e-4, 1e-6])
def test_a_steep_place_is_looked_at_closely_until_the_sum_is_right(tolerance):
    evaluate, calls = along(lambda t: np.tanh(40 * t), lambda t: 40 / np.cosh(40 * t) ** 2)
    found = integrate(evaluate, tolerance, 2_000)
    assert abs(found.parts.sum() - np.tanh(40)) <= tolerance
    # The flat part of the path is not evaluated again.
    assert all((points <= 0.5).all() for points in calls[1:])


def test_points_are_bounded_and_what_is_left_out_stays_in_the_sum_as_it_is():
    evaluate, calls = along(lambda t: np.sin(300 * t), lambda t: 300 * np.cos(300 * t))
    found = integrate(evaluate, 1e-9, 60)
    assert found.points == sum(len(points) for points in calls) <= 60
    assert np.isfinite(found.parts).all()
