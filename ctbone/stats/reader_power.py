"""Power and sample size of reader studies (Hillis–Obuchowski)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ctbone.errors import StatsError
from ctbone.stats.auc_sample_size import area_variance
from ctbone.stats.obuchowski_rockette import RandomFactors, VarianceComponents

MOST_CASES = 100_000
"""A study that needs more cases counts as not feasible."""


@dataclass(frozen=True)
class ReaderVariability:
    """What a planned study is computed from: variances, and the cases that they belong to.

    Attributes
    ----------
    test_by_reader
        Variance of the interaction of readers and tests; negative counts as 0.
    error, cov1, cov2, cov3
        Error variance and covariances of the AUCs; see `VarianceComponents`.
    cases
        Cases of the study that these belong to; they shrink in proportion to 1 / cases.
    """

    test_by_reader: float
    error: float
    cov1: float
    cov2: float
    cov3: float
    cases: int

    @classmethod
    def of_pilot(cls, components: VarianceComponents, cases: int) -> ReaderVariability:
        """Take the components of a pilot study with this number of cases."""
        return cls(
            test_by_reader=components.test_by_reader,
            error=components.error,
            cov1=components.cov1,
            cov2=components.cov2,
            cov3=components.cov3,
            cases=cases,
        )

    @classmethod
    def conjectured(
        cls,
        auc: float,
        *,
        prevalence: float,
        change_sd: float,
        correlations: tuple[float, float, float],
    ) -> ReaderVariability:
        """Compute the components from conjectured values.

        Parameters
        ----------
        auc
            Mean AUC of the readers over both tests, 0.5 to 1.
        prevalence
            Share of positive cases.
        change_sd
            Standard deviation over readers of the true change of AUC.
        correlations
            r1, r2 and r3: of the AUCs of one reader with two tests, of two readers with one test,
            and of two readers with two tests.

        Raises
        ------
        StatsError
            A value is outside its range.

        References
        ----------
        Obuchowski & McClish, Stat Med 1997;16:1529 (variance). Hillis, Obuchowski & Berbaum, Acad
        Radiol 2011;18:129.

        Examples
        --------
        >>> found = ReaderVariability.conjectured(
        ...     0.8, prevalence=0.5, change_sd=0.02, correlations=(0.5, 0.4, 0.3)
        ... )
        >>> round(found.test_by_reader, 6), round(found.cov1 / found.error, 6)
        (0.0002, 0.5)
        """
        r1, r2, r3 = correlations
        if not 0 <= r3 <= min(r1, r2) <= max(r1, r2) < 1:
            raise StatsError(
                "the correlations do not fit together",
                found=f"r1 {r1:g}, r2 {r2:g}, r3 {r3:g}",
                expected="0 ≤ r3 ≤ r1 and r2, all below 1",
            )
        if not change_sd >= 0:
            raise StatsError("the spread of the change is negative", found=change_sd)
        cases = 1000  # any number: the variance is inverse to it
        error = area_variance(auc, cases * prevalence, cases * (1 - prevalence))
        # The change of a reader is the difference of two interactions: variance 2 σ²(TR).
        return cls(
            test_by_reader=change_sd**2 / 2,
            error=error,
            cov1=r1 * error,
            cov2=r2 * error,
            cov3=r3 * error,
            cases=cases,
        )


def reader_study_power(
    difference: float,
    variability: ReaderVariability,
    *,
    readers: int,
    cases: int,
    random: RandomFactors = "readers and cases",
    alpha: float = 0.05,
) -> float:
    """Power to detect a difference of two mean AUCs in a factorial reader study.

    Parameters
    ----------
    difference
        True difference of the mean AUCs.
    variability
        Variance components.
    readers, cases
        Of the planned study.
    random
        Random factors.
    alpha
        Two-sided significance level.

    Returns
    -------
    float
        0–1.

    Raises
    ------
    StatsError
        There are fewer than two readers (if readers are random) or cases, or ``alpha`` is not
        strictly between 0 and 1.

    References
    ----------
    Hillis, Obuchowski & Berbaum, Acad Radiol 2011;18:129.

    Examples
    --------
    >>> pilot = ReaderVariability(2.0e-4, 8.0e-4, 3.5e-4, 3.4e-4, 2.4e-4, cases=114)
    >>> round(reader_study_power(0.05, pilot, readers=6, cases=165), 2)
    0.8
    """
    _check_design(readers, cases, random, alpha)
    shrink = variability.cases / cases
    interaction = max(variability.test_by_reader, 0.0)
    gain = shrink * max(variability.cov2 - variability.cov3, 0.0)
    own = shrink * (variability.error - variability.cov1)
    # Expected mean square of tests by readers, and of the tests without a difference.
    expected = max(interaction + own - gain, 0.0)
    if random == "cases":
        denominator = own + (readers - 1) * gain
    elif random == "readers":
        denominator = expected
    else:
        denominator = expected + readers * gain
    if denominator <= 0:
        return 1.0 if difference else alpha
    noncentrality = readers * difference**2 / (2 * denominator)
    if random == "cases" or expected == 0:
        return _chi2_power(noncentrality, alpha)
    df = (readers - 1) * (denominator / expected) ** 2
    return _f_power(noncentrality, df, alpha)


def cases_for_reader_study(
    difference: float,
    variability: ReaderVariability,
    *,
    readers: int,
    power: float = 0.8,
    random: RandomFactors = "readers and cases",
    alpha: float = 0.05,
) -> int | None:
    """Smallest number of cases that reaches a power; None if even 100 000 do not.

    Parameters
    ----------
    difference, variability, readers, random, alpha
        As for `reader_study_power`.
    power
        Wanted power.

    Returns
    -------
    int or None

    Examples
    --------
    >>> pilot = ReaderVariability(2.0e-4, 8.0e-4, 3.5e-4, 3.4e-4, 2.4e-4, cases=114)
    >>> cases_for_reader_study(0.05, pilot, readers=6)
    165
    """
    if not alpha < power < 1:
        raise StatsError(
            "the power is not between alpha and 1", found=power, expected="such as 0.8"
        )

    def reached(cases: int) -> bool:
        found = reader_study_power(
            difference, variability, readers=readers, cases=cases, random=random, alpha=alpha
        )
        return found >= power

    if not reached(MOST_CASES):
        return None
    low, high = 1, MOST_CASES
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _check_design(readers: int, cases: int, random: RandomFactors, alpha: float) -> None:
    fewest = 1 if random == "cases" else 2
    if readers < fewest:
        raise StatsError("too few readers", found=readers, expected=f"at least {fewest}")
    if cases < 2:
        raise StatsError("too few cases", found=cases, expected="at least 2")
    if not 0 < alpha < 1:
        raise StatsError("alpha is not between 0 and 1", found=alpha, expected="such as 0.05")


def _f_power(noncentrality: float, df: float, alpha: float) -> float:
    """Power of an F test with one numerator degree of freedom."""
    from scipy.special import fdtri, ncfdtr

    if df > 1e7:
        return _chi2_power(noncentrality, alpha)
    below = float(ncfdtr(1, df, noncentrality, fdtri(1, df, 1 - alpha)))
    return 1 - below if math.isfinite(below) else _chi2_power(noncentrality, alpha)


def _chi2_power(noncentrality: float, alpha: float) -> float:
    """Power of a χ² test with one degree of freedom, which is a two-sided z-test."""
    from ctbone.stats.distributions import normal_cdf, two_sided_z

    z, shift = two_sided_z(1 - alpha), math.sqrt(noncentrality)
    return normal_cdf(shift - z) + normal_cdf(-shift - z)
