"""Whether a quantity is the same in several groups of patients: Cochran's Q."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.stats.distributions import chi2_upper, two_sided_z
from ctbone.stats.estimate import Estimate, TestResult


def heterogeneity_test(estimates: Sequence[Estimate], *, level: float = 0.95) -> TestResult:
    """Test whether independent groups have the same value, from their intervals.

    Q is the sum of the squared distances from the weighted mean, each divided by its variance; it
    is χ² with one degree of freedom fewer than groups. The standard error of a group is half of its
    interval's length, divided by the normal quantile. Groups without an interval are left out.

    Parameters
    ----------
    estimates
        One a group; no patient is in two groups.
    level
        Confidence level of the intervals.

    Returns
    -------
    TestResult
        Undefined with fewer than two groups.

    References
    ----------
    Cochran, Biometrics 1954;10:101.

    Examples
    --------
    >>> groups = [Estimate(0.9, 0.8, 1.0, ""), Estimate(0.7, 0.6, 0.8, "")]
    >>> found = heterogeneity_test(groups)
    >>> round(found.statistic, 2), round(found.p_value, 4)
    (7.68, 0.0056)
    """
    method = "Cochran's Q"
    known = [
        (one.value, (one.high - one.low) / 2 / two_sided_z(level))
        for one in estimates
        if one.value is not None and one.low is not None and one.high is not None
    ]
    known = [(value, error) for value, error in known if error > 0]
    if len(known) < 2:
        return TestResult.undefined(method, "fewer than two groups have an interval")
    values, errors = np.array(known).T
    weights = errors**-2
    mean = (weights * values).sum() / weights.sum()
    statistic = float((weights * (values - mean) ** 2).sum())
    df = len(known) - 1
    return TestResult(statistic=statistic, df=df, p_value=chi2_upper(statistic, df), method=method)
