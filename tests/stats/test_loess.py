"""Loess against NumPy's weighted polynomial fit, one point at a time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.stats import StatsError
from ctbone.stats.loess import loess_weights


def slow_loess(x, outcome, at, span, degree):
    """Fit each point separately: sort by distance, weight, fit."""
    size = min(len(x), max(degree + 1, int(np.floor(len(x) * span + 1e-5))))
    values = []
    for point in at:
        distance = np.abs(x - point)
        width = np.sort(distance)[size - 1]
        weight = np.clip(1 - (distance / width) ** 3, 0, None) ** 3
        coefficients = np.polyfit(x - point, outcome, degree, w=np.sqrt(weight))
        values.append(coefficients[-1])
    return np.array(values)


@pytest.mark.parametrize("degree", [0, 1, 2])
@pytest.mark.parametrize("span", [0.3, 0.75, 1.0])
def test_loess_equals_fitting_point_by_point(degree, span):
    rng = np.random.default_rng(0)
    x = np.sort(rng.random(80))
    outcome = (rng.random(80) < x**2).astype(float)
    at = np.linspace(0.0, 1.0, 13)
    found = loess_weights(x, np.ones(80), at, span=span, degree=degree) @ outcome
    np.testing.assert_allclose(found, slow_loess(x, outcome, at, span, degree), atol=1e-9)


def test_counted_values_equal_repeated_cases():
    rng = np.random.default_rng(1)
    x = np.sort(rng.choice(np.arange(100) / 100, 40, replace=False))
    cases = rng.integers(0, 4, 40)
    cases[[0, -1]] = 1
    outcome = rng.random(cases.sum())
    sums = np.bincount(np.repeat(np.arange(40), cases), weights=outcome, minlength=40)
    at = np.array([0.05, 0.31, 0.5, 0.93])
    found = loess_weights(x, cases.astype(float), at) @ sums
    np.testing.assert_allclose(
        found, slow_loess(np.repeat(x, cases), outcome, at, 0.75, 2), atol=1e-9
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.integers(8, 60))
def test_loess_reproduces_a_parabola(coefficients, n):
    x = np.sort(np.random.default_rng(n).random(n))
    at = np.array([x[0], 0.5, x[-1]])
    found = loess_weights(x, np.ones(n), at) @ np.polyval(coefficients, x)
    np.testing.assert_allclose(found, np.polyval(coefficients, at), atol=1e-6)


def test_few_distinct_values_give_a_finite_curve():
    three = loess_weights(
        np.array([0.2, 0.5, 0.8]), np.array([40.0, 1, 40]), np.array([0.2, 0.5, 0.8])
    )
    assert np.isfinite(three).all()
    alone = loess_weights(np.array([0.2, 0.5, 0.8]), np.array([400.0, 1, 1]), np.array([0.2]))
    np.testing.assert_allclose(alone @ np.array([100.0, 1, 1]), [0.25], atol=1e-9)
    single = loess_weights(np.array([0.4]), np.array([5.0]), np.array([0.4]))
    np.testing.assert_allclose(single, [[0.2]])


def test_neighbours_at_the_edge_of_the_neighbourhood_give_their_mean():
    """Tricube weights are 0 there; the limit of a local mean is taken, not a curve of 0."""
    both_sides = loess_weights(np.array([0.1, 0.7]), np.array([3.0, 1]), np.array([0.4]))
    np.testing.assert_allclose(both_sides @ np.array([3.0, 0]), [0.75])
    one_side = loess_weights(np.array([0.2, 0.8]), np.array([90.0, 10]), np.array([0.3, 0.4]))
    np.testing.assert_allclose(one_side @ np.array([63.0, 10]), [0.7, 0.7])


def test_invalid_input_is_an_error():
    with pytest.raises(StatsError, match="span"):
        loess_weights(np.array([0.1, 0.2]), np.ones(2), np.array([0.1]), span=0)
    with pytest.raises(StatsError, match="ascending"):
        loess_weights(np.array([0.2, 0.1]), np.ones(2), np.array([0.1]))
