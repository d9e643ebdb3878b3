"""Area under the ROC curve with its DeLong variance: intervals, paired and unpaired tests."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.clusters import patient_numbers
from ctbone.stats.distributions import student_quantile, student_two_sided, two_sided_z
from ctbone.stats.estimate import Comparison, Estimate
from ctbone.stats.inputs import (
    ONE_CLASS,
    Floats,
    Ints,
    checked_labels,
    checked_models,
    checked_pair,
    percent,
)
from ctbone.stats.placements import area_covariance, class_counts, placements

# A variance below this is 0: rounding leaves less, and a million cases whose placements are not all
# equal have more.
_ZERO_VARIANCE = 1e-28
# Fewest patients of each class for a variance from their placements. In samples with fewer, and a
# quantile of Student's t, 95 % intervals cover the AUC in 99 to 100 %: they are useless.
_FEWEST = 5


def auc(y: ArrayLike, p: ArrayLike) -> float | None:
    """Area under the ROC curve: probability that a positive scores above a negative, ties half.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,), any scale.

    Returns
    -------
    float or None
        0–1; None if only one class is present.

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    Bamber, J Math Psychol 1975;12:387.

    Examples
    --------
    >>> auc([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    0.75
    """
    labels, scores = checked_pair(y, p)
    if labels.all() or not labels.any():
        return None
    return float(placements(labels, scores)[0].mean())


def auc_interval(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """AUC with DeLong's interval on the logit scale; Obuchowski's for several cases per patient.

    The logit keeps the limits inside 0–1 and widens the lower side near 1. The quantile is that of
    Student's t with one degree of freedom less than the smaller class has patients, because the
    variance is estimated from them. If DeLong's variance is zero (perfect separation, or equal
    scores), or a class has fewer than five patients, the interval is Newcombe's score interval
    (method 5), which has a positive width; with several cases per patient it uses the numbers of
    patients. ``method`` names the interval used.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,), any scale.
    level
        Confidence level.
    groups
        Patient of each case, shape (n,), numbers or strings; variances are then by patient
        (Obuchowski). Default: one case per patient.

    Returns
    -------
    Estimate
        0–1; undefined if only one class is present.

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837. Obuchowski, Biometrics 1997;53:567 (by
    patient). Pepe, The Statistical Evaluation of Medical Tests 2003 (logit). Newcombe, Stat Med
    2006;25:559 (method 5). Bell & McCaffrey, Surv Methodol 2002;28:169 (Student's t for few
    patients).

    Examples
    --------
    >>> auc_interval([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.5, 0.35, 0.7, 0.8]).method
    "Newcombe's score interval 95% (a class has fewer than 5 cases)"
    >>> y = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    >>> print(auc_interval(y, [1, 2, 3, 4, 7, 5, 6, 8, 9, 10]))
    0.9200 (0.2504 to 0.9975)
    """
    labels, scores = checked_pair(y, p)
    patients = patient_numbers(groups, labels.size)
    name = f"{_variance_name(patients)}, logit-transformed"
    if labels.all() or not labels.any():
        return Estimate.undefined(f"{name}, {percent(level)}", ONE_CLASS)
    positives, negatives = class_counts(labels, patients)
    df = min(positives, negatives) - 1
    of_positives, of_negatives = placements(labels, scores)
    area = float(of_positives.mean())
    if df + 1 < _FEWEST:
        unit = "cases" if patients is None else "patients"
        return _newcombe_interval(
            area,
            positives,
            negatives=negatives,
            level=level,
            reason=f"a class has fewer than {_FEWEST} {unit}",
        )
    variance = float(
        area_covariance(of_positives[None], of_negatives[None], labels=labels, patients=patients)[
            0, 0
        ]
    )
    if variance < _ZERO_VARIANCE:
        counted = "" if patients is None else f"; {positives} and {negatives} patients"
        return _newcombe_interval(
            area,
            positives,
            negatives=negatives,
            level=level,
            reason=f"DeLong's variance is zero{counted}",
        )
    centre = math.log(area / (1 - area))
    # Delta method: d logit(A) / dA = 1 / (A (1 − A)).
    half = student_quantile(0.5 + level / 2, df) * math.sqrt(variance) / (area * (1 - area))
    return Estimate(
        value=area,
        low=_expit(centre - half),
        high=_expit(centre + half),
        method=f"{name}, Student's t (df {df}) {percent(level)}",
    )


def delong_covariance(y: ArrayLike, P: ArrayLike, *, groups: ArrayLike | None = None) -> Floats:
    """DeLong's covariance matrix of the AUCs of several models on the same cases.

    Placements are computed from sorted arrays, in O(models · n log n) and float64.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    P
        Scores, shape (models, n).
    groups
        Patient of each case, shape (n,), numbers or strings; variances are then by patient
        (Obuchowski). Default: one case per patient.

    Returns
    -------
    numpy.ndarray of float64, shape (models, models)
        NaN if a class has fewer than two cases (patients).

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837. Sun & Xu, IEEE Signal Process Lett
    2014;21:1389. Obuchowski, Biometrics 1997;53:567 (by patient).

    Examples
    --------
    >>> delong_covariance([0, 0, 1, 1], [[0.1, 0.4, 0.35, 0.8], [0.1, 0.2, 0.3, 0.4]]).round(4)
    array([[0.125, 0.   ],
           [0.   , 0.   ]])
    """
    labels, scores = checked_models(y, P)
    patients = patient_numbers(groups, labels.size)
    if min(class_counts(labels, patients)) < 2:
        return np.full((len(scores), len(scores)), np.nan)
    of_positives, of_negatives = zip(*(placements(labels, row) for row in scores), strict=True)
    return area_covariance(
        np.stack(of_positives), np.stack(of_negatives), labels=labels, patients=patients
    )


def delong_test(
    y: ArrayLike,
    p_a: ArrayLike,
    p_b: ArrayLike,
    *,
    null: float = 0.0,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> Comparison:
    """DeLong's test of two models' AUCs on the same cases: t = difference / standard error.

    t is compared with Student's t, with one degree of freedom less than the smaller class has
    patients. (DeLong et al. and pROC compare it with the normal distribution; with ten patients in
    a class that test rejects 9 % of true null hypotheses at the 5 % level.)

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p_a, p_b
        Scores of the two models, shape (n,).
    null
        Difference that is tested: t = (difference − null) / standard error.
    level
        Confidence level of the interval of the difference.
    groups
        Patient of each case, shape (n,), numbers or strings; variances are then by patient
        (Obuchowski). Default: one case per patient.

    Returns
    -------
    Comparison
        Difference (first minus second), −1 to 1, t and its two-sided p-value. No test and no
        interval if the variance of the difference is zero (both models rank the cases alike), or
        if a class has fewer than five patients.

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837. Obuchowski, Biometrics 1997;53:567 (by
    patient).

    Examples
    --------
    >>> y = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    >>> result = delong_test(y, [1, 2, 3, 6, 0, 4, 5, 7, 8, 9], [5, 2, 8, 1, 9, 4, 6, 7, 3, 0])
    >>> round(result.difference, 4), round(result.statistic, 3), round(result.p_value, 3)
    (0.52, 1.927, 0.126)
    """
    labels, scores_a = checked_pair(y, p_a)
    _, scores_b = checked_pair(y, p_b)
    patients = patient_numbers(groups, labels.size)
    df = min(class_counts(labels, patients)) - 1
    method = f"{_variance_name(patients)}, paired, {_student(df, level)}"
    if labels.all() or not labels.any():
        return Comparison.undefined(method, ONE_CLASS)
    a_positives, a_negatives = placements(labels, scores_a)
    b_positives, b_negatives = placements(labels, scores_b)
    difference = float(a_positives.mean() - b_positives.mean())
    if df + 1 < _FEWEST:
        return Comparison.without_interval(difference, method, _too_few(patients))
    # Variance of the differences of placements, which is exactly 0 for equal rankings. The sum of
    # variances minus twice the covariance is equal to it, except for rounding errors.
    of_positives, of_negatives = (
        (a_positives - b_positives)[None],
        (a_negatives - b_negatives)[None],
    )
    variance = float(
        area_covariance(of_positives, of_negatives, labels=labels, patients=patients)[0, 0]
    )
    alike = "the variance of the difference is zero" + (
        ": both rank the cases alike" if difference == 0 else ""
    )
    return _comparison(
        difference, variance, null=null, df=df, level=level, method=method, if_zero=alike
    )


def delong_unpaired(
    y_a: ArrayLike, p_a: ArrayLike, y_b: ArrayLike, p_b: ArrayLike, *, level: float = 0.95
) -> Comparison:
    """DeLong's test of AUCs on two sets of cases, such as an internal and an external cohort.

    Each set has one case per patient. The statistic is compared with Student's t, with Welch's
    degrees of freedom from those of the two variances, each one less than the smaller class has
    cases. (pROC compares the same statistic with Student's t too, with degrees of freedom from all
    cases.)

    Parameters
    ----------
    y_a, y_b
        Labels, shapes (n_a,) and (n_b,), 1 for the positive class.
    p_a, p_b
        Scores, shapes (n_a,) and (n_b,).
    level
        Confidence level of the interval of the difference.

    Returns
    -------
    Comparison
        Difference (first minus second), −1 to 1, t and its two-sided p-value. No test and no
        interval if a class has fewer than five cases.

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837. Welch, Biometrika 1947;34:28 (degrees
    of freedom).

    Examples
    --------
    >>> y = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
    >>> a, b = [1, 2, 3, 6, 0, 4, 5, 7, 8, 9], [5, 2, 8, 1, 9, 4, 6, 7, 3, 0]
    >>> result = delong_unpaired(y, a, y, b)
    >>> round(result.difference, 4), round(result.p_value, 3)
    (0.52, 0.068)
    """
    method = f"DeLong, unpaired, Student's t {percent(level)}"
    areas, variances, freedoms = [], [], []
    for y, p in ((y_a, p_a), (y_b, p_b)):
        area = auc(y, p)
        if area is None:
            return Comparison.undefined(method, f"{ONE_CLASS} in one of the two sets")
        areas.append(area)
        variances.append(float(delong_covariance(y, [np.asarray(p)])[0, 0]))
        freedoms.append(min(class_counts(checked_labels(y), None)) - 1)
    difference = areas[0] - areas[1]
    if min(freedoms) + 1 < _FEWEST:
        return Comparison.without_interval(difference, method, _too_few(None))
    variance = sum(variances)
    if variance < _ZERO_VARIANCE:
        return Comparison.without_interval(difference, method, "the variance of both areas is zero")
    df = variance**2 / sum(v * v / f for v, f in zip(variances, freedoms, strict=True))
    return _comparison(difference, variance, df=df, level=level, method=method, if_zero="")


def _variance_name(patients: Ints | None) -> str:
    """Name of the variance estimator, for ``method``."""
    return "DeLong" if patients is None else "DeLong by patient (Obuchowski)"


def _student(df: float, level: float) -> str:
    """Name the distribution of the statistic, for ``method``."""
    return f"Student's t (df {df}) {percent(level)}" if df > 0 else f"Student's t {percent(level)}"


def _too_few(patients: Ints | None) -> str:
    """Reason for no test if a class has fewer than ``_FEWEST`` patients."""
    unit = "cases" if patients is None else "patients"
    return f"a class has fewer than {_FEWEST} {unit}: too few for a variance"


def _newcombe_interval(
    area: float, positives: int, negatives: int, level: float, reason: str
) -> Estimate:
    """Newcombe's method 5: solve (θ − area)² = z² V(θ) below and above the area.

    V is the variance of Hanley and McNeil (Radiology 1982;143:29), both class sizes replaced by
    their mean in its second factor.
    """
    z2 = two_sided_z(level) ** 2
    mean_count = (positives + negatives) / 2 - 1

    def gap(theta: float) -> float:
        factor = 1 + mean_count * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (theta - area) ** 2 - z2 * theta * (1 - theta) * factor / (positives * negatives)

    low = 0.0 if area == 0 else _bisect(gap, 0.0, area)
    high = 1.0 if area == 1 else _bisect(gap, 1.0, area)
    return Estimate(
        value=area,
        low=low,
        high=high,
        method=f"Newcombe's score interval {percent(level)} ({reason})",
    )


def _bisect(gap: Callable[[float], float], outside: float, inside: float) -> float:
    """Find the sign change of ``gap`` between a point outside the interval (gap > 0) and inside."""
    for _ in range(60):  # halves an interval of length 1 to below float64 resolution
        middle = (outside + inside) / 2
        if gap(middle) > 0:
            outside = middle
        else:
            inside = middle
    return (outside + inside) / 2


def _comparison(
    difference: float,
    variance: float,
    *,
    df: float,
    level: float,
    method: str,
    if_zero: str,
    null: float = 0.0,
) -> Comparison:
    """Return Student's interval and test of a difference; ``if_zero`` is the reason for none."""
    if variance < _ZERO_VARIANCE:
        return Comparison.without_interval(difference, method, if_zero)
    error = math.sqrt(variance)
    half = student_quantile(0.5 + level / 2, df) * error
    t = (difference - null) / error
    return Comparison(
        difference=difference,
        low=max(-1.0, difference - half),
        high=min(1.0, difference + half),
        statistic=t,
        p_value=student_two_sided(t, df),
        method=method,
    )


def _expit(x: float) -> float:
    """Inverse logit of one number, without overflow."""
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
