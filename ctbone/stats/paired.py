"""Tests of paired proportions: McNemar for two readers or models, Cochran's Q for more."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import binomial_lower, chi2_upper, two_sided_z
from ctbone.stats.estimate import Comparison, TestResult
from ctbone.stats.inputs import Bools, checked_labels, percent

McNemarTest: TypeAlias = Literal["exact", "mid-p"]


def mcnemar(
    first: ArrayLike, second: ArrayLike, *, test: McNemarTest = "mid-p", level: float = 0.95
) -> Comparison:
    """McNemar's test of two paired proportions, such as the accuracies of a reader and a model.

    Let b be the number of cases that only the first calls correctly and c the number that only the
    second does. The exact p-value is twice the smaller binomial tail, at most 1. The mid-p value
    subtracts the probability f of the observed outcome from it, and is 1 − f / 2 if b = c, where
    both tails contain that outcome. With b + c = 0 there is nothing to test.

    Parameters
    ----------
    first, second
        Whether each case is called correctly (or positive), shape (n,), 0/1 or bool.
    test
        ``"exact"`` or ``"mid-p"``.
    level
        Confidence level of the interval of the difference (Bonett and Price's adjusted Wald).

    Returns
    -------
    Comparison
        Difference of the two proportions, first minus second; the statistic is b − c.

    Raises
    ------
    StatsError
        If the two differ in length or hold values other than 0 and 1.

    References
    ----------
    McNemar, Psychometrika 1947;12:153. Fagerland, Lydersen & Laake, BMC Med Res Methodol 2013;13:91
    (mid-p). Bonett & Price, J Educ Behav Stat 2012;37:479 (interval).

    Examples
    --------
    >>> first = [1, 1, 1, 1, 1, 1, 0, 1, 0, 1]
    >>> second = [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    >>> exact, mid_p = mcnemar(first, second, test="exact"), mcnemar(first, second)
    >>> round(exact.p_value, 5), round(mid_p.p_value, 5)
    (0.21875, 0.125)
    """
    if test not in ("exact", "mid-p"):
        raise StatsError("unknown McNemar test", found=test, expected="exact or mid-p")
    right, other = checked_labels(first), checked_labels(second)
    if right.shape != other.shape:
        raise StatsError(
            "paired decisions differ in number", found=f"{right.size} and {other.size}"
        )
    method = f"McNemar, {test}, Bonett–Price {percent(level)}"
    n = right.size
    b, c = int((right & ~other).sum()), int((~right & other).sum())
    difference = (b - c) / n
    # Bonett & Price 2012: Wald interval of the difference with one case added to b and c each.
    up, down = (b + 1) / (n + 2), (c + 1) / (n + 2)
    half = two_sided_z(level) * math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    low, high = max(-1.0, up - down - half), min(1.0, up - down + half)
    if b + c == 0:
        return Comparison(
            difference=difference,
            low=low,
            high=high,
            statistic=None,
            p_value=None,
            method=method,
            why="the two never differ: nothing to test",
        )
    tail = binomial_lower(min(b, c), b + c, 0.5)
    p_value = min(1.0, 2 * tail)
    if test == "mid-p":
        # Half of the observed outcome is left out in each tail that contains it. If b = c, both
        # tails do, and together they count it once too often: 1 − f / 2 (Fagerland et al. 2013).
        observed = tail - binomial_lower(min(b, c) - 1, b + c, 0.5)
        p_value -= observed / 2 if b == c else observed
    return Comparison(
        difference=difference,
        low=low,
        high=high,
        statistic=float(b - c),
        p_value=p_value,
        method=method,
    )


def cochran_q(decisions: ArrayLike) -> TestResult:
    """Cochran's Q test of equal accuracy of several readers or models on the same cases.

    Parameters
    ----------
    decisions
        Whether each call is correct, shape (n, readers), 0/1 or bool.

    Returns
    -------
    TestResult
        χ² with readers − 1 degrees of freedom; undefined if the readers agree on every case.

    Raises
    ------
    StatsError
        If the shape is not (n, at least 2), or values other than 0 and 1 occur.

    References
    ----------
    Cochran, Biometrika 1950;37:256.

    Examples
    --------
    >>> result = cochran_q([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 0], [1, 0, 0]])
    >>> round(result.statistic, 3), result.df
    (5.2, 2.0)
    """
    table = np.asarray(decisions)
    if table.ndim != 2 or table.shape[1] < 2 or table.shape[0] == 0:
        raise StatsError(
            "decisions are not a table of cases and readers",
            found=table.shape,
            expected="(n, at least 2)",
        )
    right: Bools = checked_labels(table.ravel()).reshape(table.shape)
    readers = right.shape[1]
    per_reader, per_case = right.sum(axis=0), right.sum(axis=1)
    total = int(per_reader.sum())
    method = f"Cochran's Q, {readers} readers"
    within = readers * total - int((per_case**2).sum())
    if within == 0:
        return TestResult.undefined(method, "the readers agree on every case")
    statistic = (readers - 1) * (readers * int((per_reader**2).sum()) - total**2) / within
    return TestResult(
        statistic=float(statistic),
        df=float(readers - 1),
        p_value=chi2_upper(statistic, readers - 1),
        method=method,
    )
