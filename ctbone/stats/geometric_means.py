"""Geometric means of positive quantities and their ratios, paired and unpaired, by t intervals."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import student_quantile, student_two_sided
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import Floats, percent


def geometric_mean(values: ArrayLike, *, level: float = 0.95) -> Estimate:
    """Geometric mean with the t interval of the mean logarithm.

    Parameters
    ----------
    values
        Shape (n,), above 0, independent.
    level
        Confidence level.

    Raises
    ------
    StatsError
        A value is not a positive number.

    Examples
    --------
    >>> print(geometric_mean([1.0, 2.0, 4.0]))
    2.0000 (0.3575 to 11.1900)
    """
    logs = _logarithms(values)
    method = f"geometric mean, t interval {percent(level)}"
    if not len(logs):
        return Estimate.undefined(method, "no value")
    return _estimate(logs, float(logs.mean()), method, level)


def paired_ratio(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95
) -> tuple[Estimate, float | None]:
    """Ratio of two geometric means of the same cases, a to b, with the paired t-test.

    Parameters
    ----------
    a, b
        Shape (n,), above 0; the cases are independent.
    level
        Confidence level.

    Returns
    -------
    tuple
        The ratio, and the two-sided p-value; None if it is undefined.

    Raises
    ------
    StatsError
        A value is not a positive number, or the lengths differ.

    Examples
    --------
    >>> ratio, p = paired_ratio([2.0, 4.0, 6.0], [1.0, 2.0, 2.0])
    >>> round(ratio.value, 3), round(p, 3)
    (2.289, 0.026)
    """
    first, second = _logarithms(a), _logarithms(b)
    if len(first) != len(second):
        raise StatsError("paired values differ in number", found=f"{len(first)} and {len(second)}")
    method = f"ratio of geometric means, paired t {percent(level)}"
    differences = first - second
    if not len(differences):
        return Estimate.undefined(method, "no value"), None
    mean = float(differences.mean())
    estimate = _estimate(differences, mean, method, level)
    if estimate.low is None:
        return estimate, None
    error = float(differences.std(ddof=1)) / math.sqrt(len(differences))
    return estimate, student_two_sided(mean / error, len(differences) - 1)


def unpaired_ratio(
    a: ArrayLike, b: ArrayLike, *, level: float = 0.95
) -> tuple[Estimate, float | None]:
    """Ratio of the geometric means of two groups, a to b, with Welch's t-test.

    Parameters
    ----------
    a, b
        Shapes (n,) and (m,), above 0, independent.
    level
        Confidence level.

    Returns
    -------
    tuple
        The ratio, and the two-sided p-value; None if it is undefined.

    Raises
    ------
    StatsError
        A value is not a positive number.

    References
    ----------
    Welch, Biometrika 1947;34:28.

    Examples
    --------
    >>> ratio, p = unpaired_ratio([2.0, 4.0, 8.0], [1.0, 2.0, 4.0])
    >>> round(ratio.value, 3), round(p, 2)
    (2.0, 0.29)
    """
    first, second = _logarithms(a), _logarithms(b)
    method = f"ratio of geometric means, Welch {percent(level)}"
    if not len(first) or not len(second):
        return Estimate.undefined(method, "a group has no value"), None
    mean = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2:
        why = "a group has a single value"
        return Estimate.without_interval(math.exp(mean), method, why), None
    parts = [float(group.var(ddof=1)) / len(group) for group in (first, second)]
    error = math.sqrt(sum(parts))
    if error == 0:
        why = "the values do not vary"
        return Estimate.without_interval(math.exp(mean), method, why), None
    df = sum(parts) ** 2 / (parts[0] ** 2 / (len(first) - 1) + parts[1] ** 2 / (len(second) - 1))
    reach = student_quantile((1 + level) / 2, df) * error
    estimate = Estimate(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), method)
    return estimate, student_two_sided(mean / error, df)


def _logarithms(values: ArrayLike) -> Floats:
    array = np.asarray(values, dtype=np.float64).ravel()
    wrong = ~(np.isfinite(array) & (array > 0))
    if wrong.any():
        raise StatsError(
            "a geometric mean needs positive numbers", found=array[int(wrong.argmax())]
        )
    return np.log(array)


def _estimate(logs: Floats, mean: float, method: str, level: float) -> Estimate:
    if len(logs) < 2:
        return Estimate.without_interval(math.exp(mean), method, "a single value")
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs))
    if error == 0:
        return Estimate.without_interval(math.exp(mean), method, "the values do not vary")
    reach = student_quantile((1 + level) / 2, len(logs) - 1) * error
    return Estimate(math.exp(mean), math.exp(mean - reach), math.exp(mean + reach), method)
