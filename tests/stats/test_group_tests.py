"""Tests between groups against SciPy and the main paper's Table 1."""

import numpy as np
import pytest
from scipy import stats as scipy_stats

from ctbone.stats import StatsError, independence_test, location_test


@pytest.mark.parametrize(
    ("table", "p_value"),
    [([[71, 58], [167, 218]], 0.028), ([[13, 6], [15, 21]], 0.109)],
)
def test_sex_in_the_main_paper_was_tested_with_yates_correction(table, p_value):
    assert round(independence_test(table, test="yates").p_value, 3) == p_value
    assert round(independence_test(table, test="chi-squared").p_value, 3) != p_value


@pytest.mark.parametrize("seed", range(5))
def test_tables_equal_scipy(seed):
    rng = np.random.default_rng(seed)
    square, wide = rng.integers(1, 30, (2, 2)), rng.integers(1, 30, (3, 4))
    for table, test, correction in (
        (square, "chi-squared", False),
        (square, "yates", True),
        (wide, "chi-squared", False),
    ):
        oracle = scipy_stats.chi2_contingency(table, correction=correction)
        found = independence_test(table, test=test)
        assert (found.statistic, found.p_value, found.df) == pytest.approx(
            (oracle.statistic, oracle.pvalue, oracle.dof)
        )
    assert independence_test(square, test="fisher").p_value == pytest.approx(
        scipy_stats.fisher_exact(square).pvalue
    )


def test_yates_never_corrects_beyond_the_difference():
    assert independence_test([[10, 10], [10, 10]], test="yates").statistic == 0
    assert independence_test([[10, 10], [11, 11]], test="yates").p_value == 1


def test_undefined_results_and_invalid_input():
    assert independence_test([[3, 0], [4, 0]]).why == "only one category occurs"
    assert independence_test([[0, 0], [4, 1]]).why == "a group has no known value"
    assert "2 × 2" in independence_test([[3, 1, 2], [4, 1, 1]], test="fisher").why
    assert independence_test([[3, 1, 0], [4, 1, 0]], test="fisher").p_value is not None
    with pytest.raises(StatsError, match="unknown test"):
        independence_test([[1, 2], [3, 4]], test="g")
    with pytest.raises(StatsError, match="non-negative"):
        independence_test([[1, -2], [3, 4]])
    with pytest.raises(StatsError, match="unknown test"):
        location_test([np.ones(3), np.ones(3)], test="median")
