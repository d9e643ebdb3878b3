"""McNemar and Cochran's Q against statsmodels and SciPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from statsmodels.stats import contingency_tables

from ctbone.stats import StatsError, cochran_q, mcnemar


def paired(b, c, both=3, neither=2):
    first = [1] * b + [0] * c + [1] * both + [0] * neither
    second = [0] * b + [1] * c + [1] * both + [0] * neither
    return first, second


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_exact_and_mid_p(b, c):
    first, second = paired(b, c)
    exact, middle = mcnemar(first, second, test="exact"), mcnemar(first, second)
    assert exact.difference == pytest.approx((b - c) / (b + c + 5))
    assert exact.low <= exact.difference <= exact.high
    if b + c == 0:
        assert exact.p_value is None
        assert middle.p_value is None
        assert "never differ" in exact.why
        return
    assert exact.statistic == b - c
    assert exact.p_value == pytest.approx(binomtest(b, b + c, 0.5).pvalue)
    oracle = contingency_tables.mcnemar([[3, b], [c, 2]], exact=True)
    assert exact.p_value == pytest.approx(oracle.pvalue)
    by_hand = 2 * sum(binom.pmf(k, b + c, 0.5) for k in range(min(b, c))) + binom.pmf(
        min(b, c), b + c, 0.5
    )
    # Fagerland, Lydersen & Laake 2013, page 3: 1 − f / 2 if b = c.
    equal = 1 - binom.pmf(b, 2 * b, 0.5) / 2
    assert middle.p_value == pytest.approx(equal if b == c else by_hand)
    assert middle.p_value <= exact.p_value
    swapped = mcnemar(second, first)
    assert swapped.difference == -middle.difference
    assert swapped.p_value == middle.p_value
    assert swapped.low == pytest.approx(-middle.high)


def test_coverage_of_the_interval_of_the_paired_difference():
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(800):
        first = rng.random(60) < 0.85
        second = np.where(rng.random(60) < 0.8, first, rng.random(60) < 0.7)
        found = mcnemar(first, second)
        hits += found.low <= 0.85 - (0.8 * 0.85 + 0.2 * 0.7) <= found.high
    assert 0.93 <= hits / 800 <= 0.995


def test_cochrans_q_equals_statsmodels_and_two_readers_are_mcnemar():
    rng = np.random.default_rng(4)
    right = rng.random((70, 4)) < [0.6, 0.7, 0.75, 0.8]
    oracle = contingency_tables.cochrans_q(right.astype(int))
    found = cochran_q(right)
    assert found.statistic == pytest.approx(oracle.statistic)
    assert found.p_value == pytest.approx(oracle.pvalue)
    assert found.df == 3
    b, c = 11, 4
    first, second = paired(b, c)
    assert cochran_q(np.stack([first, second], axis=1)).statistic == pytest.approx(
        (b - c) ** 2 / (b + c)
    )
    assert cochran_q([[1, 1], [0, 0]]).why == "the readers agree on every case"


def test_airway_reactivity_before_and_after_transplantation():
    """The worked example of Fagerland, Lydersen and Laake: 1 and 7 discordant among 21 children."""
    first, second = paired(1, 7, both=1, neither=12)
    assert round(mcnemar(first, second, test="exact").p_value, 4) == 0.0703
    found = mcnemar(first, second)
    assert round(found.p_value, 4) == 0.0391
    assert (round(found.low, 3), round(found.high, 3)) == (-0.508, -0.013)


def test_invalid_input_is_an_error():
    with pytest.raises(StatsError, match="number"):
        mcnemar([1, 0], [1])
    with pytest.raises(StatsError, match="unknown McNemar"):
        mcnemar([1, 0], [1, 1], test="asymptotic")
    with pytest.raises(StatsError, match="0 or 1"):
        cochran_q([[1, 2], [0, 1]])
    with pytest.raises(StatsError, match="table"):
        cochran_q([1, 0])
