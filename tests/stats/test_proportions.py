"""Intervals of a proportion against statsmodels and their own definition."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, norm
from statsmodels.stats.proportion import proportion_confint

from ctbone.stats import StatsError, proportion

counts = st.integers(5, 600).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))


@settings(max_examples=150, deadline=None)
@given(counts, st.sampled_from([0.8, 0.95, 0.99]))
def test_both_equal_statsmodels(count, level):
    k, n = count
    for interval, method in (("wilson", "wilson"), ("clopper-pearson", "beta")):
        found = proportion(k, n, level=level, interval=interval)
        low, high = proportion_confint(k, n, alpha=1 - level, method=method)
        assert found.value == k / n
        assert found.low == pytest.approx(low, abs=1e-12)
        assert found.high == pytest.approx(high, abs=1e-12)
        assert 0 <= found.low <= found.value <= found.high <= 1
        assert found.low < found.high


def test_clopper_pearson_leaves_half_of_alpha_in_each_tail():
    found = proportion(7, 31, interval="clopper-pearson")
    assert binom.sf(6, 31, found.low) == pytest.approx(0.025, abs=1e-10)
    assert binom.cdf(7, 31, found.high) == pytest.approx(0.025, abs=1e-10)


def test_wilson_inverts_the_score_test():
    found = proportion(7, 31)
    for end in (found.low, found.high):
        assert abs(7 / 31 - end) / (end * (1 - end) / 31) ** 0.5 == pytest.approx(
            norm.ppf(0.975), abs=1e-9
        )


def test_the_dangerous_error_of_the_three_class_paper():
    found = proportion(1, 342, interval="clopper-pearson")
    assert round(100 * found.low, 4) == 0.0074
    assert round(100 * found.high, 3) == 1.618


def test_undefined_results_and_invalid_input():
    assert proportion(0, 0).value is None
    assert proportion(0, 0).why == "no case in the denominator"
    few = proportion(3, 4)
    assert (few.value, few.low, few.why) == (0.75, None, "fewer than 5 cases in the denominator")
    assert proportion(3, 4.5, patients=6).low is not None, "six patients count as 4.5 cases"
    for k, n in ((3, 2), (-1, 2), (0, -1)):
        with pytest.raises(StatsError):
            proportion(k, n)
    with pytest.raises(StatsError, match="level"):
        proportion(1, 2, level=95)
    with pytest.raises(StatsError, match="unknown interval"):
        proportion(1, 2, interval="wald")
