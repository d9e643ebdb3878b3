"""Differences of paired rates against formulas by hand and SciPy."""

import math

import numpy as np
import pytest
from scipy import stats

from ctbone.stats import paired_rate_test

FIRST = np.array([1, 1, 1, 1, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1], bool)
SECOND = np.array([1, 0, 0, 1, 0, 0, 1, 0, 0, 1, 1, 0, 1, 1, 1, 0, 1, 0, 1, 1], bool)


def test_no_difference_is_tested_by_mcnemars_mid_p():
    b, c = int((FIRST & ~SECOND).sum()), int((~FIRST & SECOND).sum())
    assert (b, c) == (7, 2)
    exact = 2 * stats.binom.cdf(c, b + c, 0.5)
    found = paired_rate_test(FIRST, SECOND)
    assert found.p_value == pytest.approx(exact - stats.binom.pmf(c, b + c, 0.5))
    assert found.difference == pytest.approx(5 / 20)


@pytest.mark.parametrize("null", [-0.05, -0.2, 0.1])
def test_another_null_is_tested_by_the_adjusted_wald_statistic(null):
    n, up, down = 20, (7 + 1) / 22, (2 + 1) / 22
    z = (up - down - null) / math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    found = paired_rate_test(FIRST, SECOND, null=null)
    assert found.statistic == pytest.approx(z)
    assert found.p_value == pytest.approx(2 * stats.norm.sf(abs(z)))


def test_the_test_agrees_with_the_interval():
    low = paired_rate_test(FIRST, SECOND).low
    assert paired_rate_test(FIRST, SECOND, null=low).p_value == pytest.approx(0.05)


def test_by_patient_it_is_a_t_test_of_patient_means():
    patients = np.repeat(np.arange(10), 2)
    means = (FIRST.astype(float) - SECOND).reshape(10, 2).mean(axis=1)
    expected = stats.ttest_1samp(means, -0.1)
    found = paired_rate_test(FIRST, SECOND, null=-0.1, groups=patients)
    assert found.statistic == pytest.approx(expected.statistic)
    assert found.p_value == pytest.approx(expected.pvalue)
    ends = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high))


def test_what_cannot_be_tested_says_why():
    assert "never differ" in paired_rate_test(FIRST, FIRST).why
    few = paired_rate_test(FIRST[:8], SECOND[:8], groups=[0, 0, 1, 1, 2, 2, 3, 3])
    assert "fewer than 5 patients" in few.why
    assert "do not vary" in paired_rate_test(FIRST, FIRST, groups=np.arange(20) // 2).why
