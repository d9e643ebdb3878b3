"""Intervals of a binomial proportion: Wilson and Clopper–Pearson."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

from ctbone.errors import StatsError
from ctbone.stats.distributions import beta_quantile, two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.fewest import FEWEST_CASES
from ctbone.stats.inputs import percent

ProportionInterval: TypeAlias = Literal["wilson", "clopper-pearson"]

_NAMES = {"wilson": "Wilson", "clopper-pearson": "Clopper–Pearson"}


def proportion(
    successes: float,
    n: float,
    *,
    level: float = 0.95,
    interval: ProportionInterval = "wilson",
    empty: str = "no case in the denominator",
    patients: int | None = None,
) -> Estimate:
    """Binomial proportion with its Wilson or Clopper–Pearson interval.

    Parameters
    ----------
    successes, n
        Counts, 0 ≤ successes ≤ n; integers, or counts divided by a design effect.
    level
        Confidence level.
    interval
        ``"wilson"`` (score interval, without continuity correction) or ``"clopper-pearson"``
        (exact, conservative).
    empty
        Reason to give if n is 0.
    patients
        Number of patients in the denominator, if the counts are divided by a design effect.

    Returns
    -------
    Estimate
        0–1; undefined if n is 0, no interval of fewer than 5 cases (patients).

    Raises
    ------
    StatsError
        If a count is negative, there are more successes than n, or the interval is unknown.

    References
    ----------
    Wilson, J Am Stat Assoc 1927;22:209. Clopper & Pearson, Biometrika 1934;26:404.

    Examples
    --------
    >>> print(proportion(9, 10))
    0.9000 (0.5958 to 0.9821)
    >>> print(proportion(1, 342, interval="clopper-pearson"))
    0.0029 (0.0001 to 0.0162)
    """
    if interval not in _NAMES:
        raise StatsError(
            "unknown interval of a proportion", found=interval, expected=" or ".join(_NAMES)
        )
    method = f"{_NAMES[interval]} {percent(level)}"
    if n < 0 or not 0 <= successes <= n:
        raise StatsError(
            "counts of a proportion are inconsistent",
            found=f"{successes} of {n}",
            expected="0 ≤ successes ≤ n",
        )
    if n == 0:
        return Estimate.undefined(method, empty)
    if (n if patients is None else patients) < FEWEST_CASES:
        unit = "cases" if patients is None else "patients"
        return Estimate.without_interval(
            successes / n, method, f"fewer than {FEWEST_CASES} {unit} in the denominator"
        )
    low, high = (wilson_limits if interval == "wilson" else _clopper_pearson)(successes, n, level)
    return Estimate(value=successes / n, low=low, high=high, method=method)


def wilson_limits(
    successes: float, n: float, level: float = 0.95, *, quantile: float | None = None
) -> tuple[float, float]:
    """Lower and upper limit of Wilson's interval, for n > 0.

    The quantile is the normal one of the level, unless another is given (Student's t).

    Examples
    --------
    >>> low, high = wilson_limits(9, 10, 0.95)
    >>> round(low, 4), round(high, 4)
    (0.5958, 0.9821)
    """
    z2 = (two_sided_z(level) if quantile is None else quantile) ** 2
    share = successes / n
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n))) / (1 + z2 / n)
    # At 0 and n successes the limit is exactly 0 or 1; the formula gives it with a rounding error.
    return (0.0 if successes == 0 else centre - half, 1.0 if successes == n else centre + half)


def _clopper_pearson(successes: float, n: float, level: float) -> tuple[float, float]:
    """Lower and upper limit from quantiles of the beta distribution (Clopper & Pearson 1934)."""
    tail = (1 - level) / 2
    low = 0.0 if successes == 0 else beta_quantile(tail, successes, n - successes + 1)
    high = 1.0 if successes == n else beta_quantile(1 - tail, successes + 1, n - successes)
    return low, high
