import numpy as np
import pytest
from scipy import stats

from ctbone.stats import Estimate, auc_interval, heterogeneity_test


def test_q_is_that_of_its_definition():
    values, errors = np.array([0.7, 0.8, 0.9]), np.array([0.05, 0.04, 0.02])
    z = stats.norm.ppf(0.95)
    groups = [Estimate(v, v - z * e, v + z * e, "") for v, e in zip(values, errors, strict=True)]
    mean = np.average(values, weights=errors**-2)
    q = (((values - mean) / errors) ** 2).sum()
    found = heterogeneity_test(groups, level=0.9)
    assert (found.statistic, found.df) == (pytest.approx(q), 2)
    assert found.p_value == pytest.approx(stats.chi2.sf(q, 2))


def test_groups_without_an_interval_are_left_out():
    known = [Estimate(0.9, 0.8, 1.0, ""), Estimate(0.7, 0.6, 0.8, "")]
    found = heterogeneity_test([*known, Estimate.undefined("", "one class")])
    assert found == heterogeneity_test(known)
    assert heterogeneity_test(known[:1]).p_value is None


def test_equal_groups_are_rarely_called_different():
    """AUC of three groups of 60 cases: the share of p below .05 is at most about .05."""
    random = np.random.default_rng(0)
    labels = np.arange(60) % 2
    small = 0
    for _ in range(400):
        groups = [auc_interval(labels, random.normal(labels, 1)) for _ in range(3)]
        small += heterogeneity_test(groups).p_value < 0.05
    assert small / 400 < 0.09
