"""Quantiles and tail probabilities; SciPy is imported at the first call, to keep imports fast."""

from __future__ import annotations

from statistics import NormalDist


def normal_quantile(probability: float) -> float:
    """Quantile of the standard normal distribution.

    Examples
    --------
    >>> round(normal_quantile(0.975), 4)
    1.96
    """
    return NormalDist().inv_cdf(probability)


def two_sided_z(level: float) -> float:
    """Half width of a two-sided normal interval in standard errors: z of (1 + level) / 2.

    Examples
    --------
    >>> round(two_sided_z(0.95), 4)
    1.96
    """
    return NormalDist().inv_cdf(0.5 + level / 2)


def normal_two_sided(z: float) -> float:
    """Two-sided p-value of a standard normal statistic, accurate in the far tail.

    Examples
    --------
    >>> round(normal_two_sided(1.96), 4)
    0.05
    """
    from math import erfc, sqrt

    return erfc(abs(z) / sqrt(2))


def normal_cdf(z: float) -> float:
    """Cumulative probability of the standard normal distribution.

    Examples
    --------
    >>> normal_cdf(0.0)
    0.5
    """
    return NormalDist().cdf(z)


def beta_quantile(probability: float, a: float, b: float) -> float:
    """Quantile of the beta distribution with both shape parameters above 0.

    Examples
    --------
    >>> round(beta_quantile(0.5, 2, 2), 4)
    0.5
    """
    from scipy.special import betaincinv

    return float(betaincinv(a, b, probability))


def chi2_upper(statistic: float, df: float) -> float:
    """Upper tail probability of the χ² distribution.

    Examples
    --------
    >>> round(chi2_upper(3.841, 1), 3)
    0.05
    """
    from scipy.special import chdtrc

    return float(chdtrc(df, statistic))


def student_two_sided(t: float, df: float) -> float:
    """Two-sided p-value of Student's t.

    Examples
    --------
    >>> round(student_two_sided(2.228, 10), 3)
    0.05
    """
    from scipy.special import stdtr

    return float(2 * stdtr(df, -abs(t)))


def student_quantile(probability: float, df: float) -> float:
    """Quantile of Student's t.

    Examples
    --------
    >>> round(student_quantile(0.975, 10), 3)
    2.228
    """
    from scipy.special import stdtrit

    return float(stdtrit(df, probability))


def binomial_lower(k: int, n: int, probability: float) -> float:
    """Probability of at most k successes in n trials.

    Examples
    --------
    >>> binomial_lower(0, 2, 0.5)
    0.25
    """
    from scipy.special import bdtr

    return 0.0 if k < 0 else float(bdtr(k, n, probability))
