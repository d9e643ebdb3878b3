"""Calibration in numbers: Brier score, intercept and slope of logistic recalibration."""

from __future__ import annotations

import math

from numpy.typing import ArrayLike

from ctbone.stats.clusters import mean_interval, patients_of
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import Ints, checked_pair, percent
from ctbone.stats.logistic import CLIP, fit_intercept, fit_logistic, logit

_CLIPPED = f"probabilities clipped to {CLIP:g} from 0 and 1"


def brier(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Brier score: mean squared difference of probability and outcome, 0 (best) to 1.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level
        Confidence level; the interval is normal (by patient Student's), from the variance of the squared differences,
        cut at 0 and 1.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient. Default: each case is a
        patient.

    Returns
    -------
    Estimate
        Without interval where there is one case, or all squared differences are the same.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing, do not fit together or leave 0–1.

    References
    ----------
    Brier, Mon Weather Rev 1950;78:1. Spiegelhalter, Stat Med 1986;5:421.

    Examples
    --------
    >>> print(brier([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]))
    0.1581 (0.0000 to 0.3422)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patients_of(groups, labels.size)
    squares = (scores - labels) ** 2
    score = float(squares.mean())
    return mean_interval(score, squares - score, patients, level, "mean square", (0.0, 1.0))


def scaled_brier(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Scaled Brier score: 1 − Brier / (prevalence · (1 − prevalence)); 1 is best, 0 is no better than the prevalence.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level
        Confidence level; the interval is normal (by patient Student's), by the delta method, cut at 1.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient. Default: each case is a
        patient.

    Returns
    -------
    Estimate
        Up to 1, may be negative; undefined where only one class is present.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing, do not fit together or leave 0–1.

    References
    ----------
    Steyerberg et al., Epidemiology 2010;21:128.

    Examples
    --------
    >>> round(scaled_brier([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 4)
    0.3675
    """
    labels, scores = checked_pair(y, p, probability=True)
    method = "delta method"
    share = float(labels.mean())
    if share in (0.0, 1.0):
        return Estimate.undefined(f"{method}, normal {percent(level)}", "only one class is present")
    squares = (scores - labels) ** 2
    reference = share * (1 - share)
    score = float(squares.mean())
    influence = -(squares - score) / reference + score / reference**2 * (1 - 2 * share) * (
        labels - share
    )
    patients = patients_of(groups, labels.size)
    return mean_interval(
        1 - score / reference, influence, patients, level, method, (-math.inf, 1.0)
    )


def calibration_intercept(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    joint: bool = False,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Calibration intercept: 0 is ideal, above 0 the probabilities are too low on average.

    By default the slope is held at 1 (calibration in the large), which is what the recommendations mean by the word;
    with ``joint`` it is the intercept fitted together with the slope, which speaks of probabilities near ½ only.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8 for the logit.
    level
        Confidence level; Wald interval, by patient with the bias-corrected sandwich.
    joint
        Fit the slope too.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient. Default: each case is a
        patient.

    Returns
    -------
    Estimate
        Any number; undefined where only one class is present, or where ``joint`` has no finite fit.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing, do not fit together or leave 0–1.

    References
    ----------
    Cox, Biometrika 1958;45:562. Van Calster et al., J Clin Epidemiol 2016;74:167. Mancl & DeRouen, Biometrics
    2001;57:126 (by patient).

    Examples
    --------
    >>> print(calibration_intercept([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.9]))
    0.3322 (-1.7420 to 2.4065)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patients_of(groups, labels.size)
    linear = logit(scores)
    fit = (
        fit_logistic(labels, linear, patients=patients)
        if joint
        else fit_intercept(labels, linear, patients)
    )
    slope = "slope fitted too" if joint else "slope fixed at 1"
    method = f"logistic recalibration, {slope}, {_wald_name(level, patients)}, {_CLIPPED}"
    if isinstance(fit, str):
        return Estimate.undefined(method, fit)
    return _wald(fit.intercept, fit.intercept_error, level, method)


def calibration_slope(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Calibration slope: 1 is ideal, below 1 the probabilities are too extreme (overfitting).

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8 for the logit.
    level
        Confidence level; Wald interval, by patient with the bias-corrected sandwich.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient. Default: each case is a
        patient.

    Returns
    -------
    Estimate
        Any number; undefined where only one class is present, every probability is the same, or the classes are
        separated.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing, do not fit together or leave 0–1.

    References
    ----------
    Cox, Biometrika 1958;45:562. Van Calster et al., J Clin Epidemiol 2016;74:167. Mancl & DeRouen, Biometrics
    2001;57:126 (by patient).

    Examples
    --------
    >>> print(calibration_slope([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.9]))
    0.9203 (-0.9414 to 2.7820)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patients_of(groups, labels.size)
    method = f"logistic recalibration, {_wald_name(level, patients)}, {_CLIPPED}"
    fit = fit_logistic(labels, logit(scores), patients=patients)
    if isinstance(fit, str):
        return Estimate.undefined(method, fit)
    return _wald(fit.slope, fit.slope_error, level, method)


def _wald_name(level: float, patients: Ints | None) -> str:
    return f"Wald {percent(level)}" + (
        "" if patients is None else " by patient (bias-corrected sandwich)"
    )


def _wald(value: float, error: float, level: float, method: str) -> Estimate:
    if not math.isfinite(error):
        return Estimate(value, None, None, method, "too few patients for a standard error")
    if error < 1e-9 * max(
        1.0, abs(value)
    ):  # as where each patient has a positive and a negative case
        return Estimate(value, None, None, method, "the patients do not vary")
    half = two_sided_z(level) * error
    return Estimate(value, value - half, value + half, method)
