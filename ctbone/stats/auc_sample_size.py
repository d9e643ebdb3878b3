"""Sample size for one AUC against a value, or against another AUC."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ctbone.errors import StatsError
from ctbone.stats.distributions import normal_cdf, normal_quantile, two_sided_z

AreaVariance: TypeAlias = Literal["obuchowski", "hanley-mcneil"]


@dataclass(frozen=True)
class SampleSize:
    """Cases that a study needs.

    Attributes
    ----------
    positives, negatives
        Cases of each class.
    method
        Formula.
    """

    positives: int
    negatives: int
    method: str

    @property
    def cases(self) -> int:
        """Cases of both classes."""
        return self.positives + self.negatives


def area_variance(
    auc: float, positives: float, negatives: float, method: AreaVariance = "obuchowski"
) -> float:
    """Variance of an AUC that is expected with these numbers of cases.

    Parameters
    ----------
    auc
        0.5 up to, not including, 1.
    positives, negatives
        Cases of each class.
    method
        ``"obuchowski"`` (binormal curve with equal variances) or ``"hanley-mcneil"`` (exponential
        scores).

    Returns
    -------
    float

    Raises
    ------
    StatsError
        The AUC is outside its range, or a class has no case.

    References
    ----------
    Obuchowski & McClish, Stat Med 1997;16:1529; Obuchowski, Lieber & Wians, Clin Chem
    2004;50:1118. Hanley & McNeil, Radiology 1982;143:29.

    Examples
    --------
    >>> round(area_variance(0.8932, 51, 58, "hanley-mcneil") ** 0.5, 4)
    0.0325
    """
    if not 0.5 <= auc < 1:
        raise StatsError("the AUC is outside its range", found=auc, expected="0.5 to below 1")
    if min(positives, negatives) <= 0:
        raise StatsError("a class has no case", found=f"{positives:g} and {negatives:g}")
    if method == "obuchowski":
        # A = √2 Φ⁻¹(AUC); 0.0099 approximates 1 / (32 π). With n₁ positive and n₀ negative cases:
        # 0.0099 exp(−A²/2) ((5 A² + 8) / n₁ + (A² + 8) / n₀).
        a2 = 2 * normal_quantile(auc) ** 2
        return 0.0099 * math.exp(-a2 / 2) * ((5 * a2 + 8) / positives + (a2 + 8) / negatives)
    if method != "hanley-mcneil":
        raise StatsError("unknown variance", found=method, expected="obuchowski or hanley-mcneil")
    # Hanley & McNeil 1982: Q1 = A / (2 − A), Q2 = 2 A² / (1 + A).
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    total = auc * (1 - auc)
    total += (positives - 1) * (q1 - auc**2) + (negatives - 1) * (q2 - auc**2)
    return total / (positives * negatives)


def cases_for_area(
    auc: float,
    against: float,
    *,
    prevalence: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
    method: AreaVariance = "obuchowski",
) -> SampleSize:
    """Cases needed to show that an AUC differs from a fixed value.

    Parameters
    ----------
    auc, against
        Expected AUC, and the value of the null hypothesis; 0.5 to below 1.
    prevalence
        Share of positive cases.
    power, alpha
        Wanted power, and two-sided significance level.
    method
        Variance; see `area_variance`.

    Returns
    -------
    SampleSize

    Raises
    ------
    StatsError
        Both are equal, or a value is outside its range.

    References
    ----------
    Obuchowski, Lieber & Wians, Clin Chem 2004;50:1118, with the variance of the null hypothesis
    at ``against``.

    Examples
    --------
    >>> cases_for_area(0.8, 0.5, power=0.9, alpha=0.1).positives
    14
    """
    _check(auc, against, prevalence=prevalence, power=power, alpha=alpha)

    def reached(positives: float, negatives: float) -> float:
        return area_power(
            auc, against, positives=positives, negatives=negatives, alpha=alpha, method=method
        )

    return _smallest(reached, prevalence, power, f"{_NAMES[method]}, one AUC against {against:g}")


def cases_for_two_areas(
    auc: float,
    against: float,
    *,
    correlation: float = 0.0,
    prevalence: float = 0.5,
    power: float = 0.8,
    alpha: float = 0.05,
    method: AreaVariance = "obuchowski",
) -> SampleSize:
    """Cases needed to show that two AUCs on the same cases differ.

    Parameters
    ----------
    auc, against
        Expected AUCs.
    correlation
        Of the two estimated AUCs, from reading the same cases.
    prevalence, power, alpha, method
        As for `cases_for_area`.

    Returns
    -------
    SampleSize

    Raises
    ------
    StatsError
        Both are equal, or a value is outside its range.

    References
    ----------
    Hanley & McNeil, Radiology 1983;148:839. Obuchowski & McClish, Stat Med 1997;16:1529.

    Examples
    --------
    >>> cases_for_two_areas(0.85, 0.75, correlation=0.5).cases
    188
    """
    _check(auc, against, prevalence=prevalence, power=power, alpha=alpha)
    if not 0 <= correlation < 1:
        raise StatsError("the correlation is not from 0 to below 1", found=correlation)

    def reached(positives: float, negatives: float) -> float:
        first, second, mean = (
            area_variance(area, positives, negatives, method)
            for area in (auc, against, (auc + against) / 2)
        )
        null = 2 * mean * (1 - correlation)
        expected = first + second - 2 * correlation * math.sqrt(first * second)
        return _power(abs(auc - against), null, expected, alpha)

    words = f"{_NAMES[method]}, two AUCs, correlation {correlation:g}"
    return _smallest(reached, prevalence, power, words)


def area_power(
    auc: float,
    against: float,
    *,
    positives: float,
    negatives: float,
    alpha: float = 0.05,
    method: AreaVariance = "obuchowski",
) -> float:
    """Power to show that an AUC differs from a fixed value.

    Parameters
    ----------
    auc, against, alpha, method
        As for `cases_for_area`.
    positives, negatives
        Cases of each class.

    Returns
    -------
    float
        0–1.

    Examples
    --------
    >>> round(area_power(0.73, 0.5, positives=41, negatives=72), 2)
    0.99
    """
    null = area_variance(against, positives, negatives, method)
    expected = area_variance(auc, positives, negatives, method)
    return _power(abs(auc - against), null, expected, alpha)


_NAMES = {
    "obuchowski": "variance of Obuchowski and McClish",
    "hanley-mcneil": "variance of Hanley and McNeil",
}


def _power(difference: float, null: float, expected: float, alpha: float) -> float:
    """Power of a two-sided z-test, without the far tail; variances under both hypotheses."""
    return normal_cdf((difference - two_sided_z(1 - alpha) * math.sqrt(null)) / math.sqrt(expected))


def _check(auc: float, against: float, prevalence: float, power: float, alpha: float) -> None:
    if auc == against:
        raise StatsError("the AUC equals the value that it is compared with", found=auc)
    if not 0 < prevalence < 1:
        raise StatsError("the prevalence is not between 0 and 1", found=prevalence)
    if not 0 < alpha < power < 1:
        raise StatsError(
            "power and alpha do not fit together",
            found=f"power {power:g}, alpha {alpha:g}",
            expected="0 < alpha < power < 1",
        )


def _smallest(
    reached: Callable[[float, float], float], prevalence: float, power: float, method: str
) -> SampleSize:
    """Smallest number of cases with this power: bisection, then both classes rounded up."""
    low, high = 2.0, 2.0
    while reached(high * prevalence, high * (1 - prevalence)) < power:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        enough = reached(middle * prevalence, middle * (1 - prevalence)) >= power
        low, high = (low, middle) if enough else (middle, high)
    # Rounding errors of an exact number of cases must not add one.
    positives, negatives = (high * share - 1e-9 for share in (prevalence, 1 - prevalence))
    return SampleSize(math.ceil(positives), math.ceil(negatives), method)
