"""Calibration in numbers: Brier score, calibration intercept and slope, observed / expected."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.clusters import (
    clustered_standard_error,
    kish_design_effect,
    patient_numbers,
    patient_sums,
)
from ctbone.stats.distributions import student_quantile, two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.fewest import FEWEST_CASES
from ctbone.stats.inputs import ONE_CLASS, Bools, Floats, Ints, checked_pair, percent
from ctbone.stats.logistic import CLIP, LogisticFit, expit, fit_intercept, fit_logistic, logit
from ctbone.stats.placements import class_counts
from ctbone.stats.proportions import wilson_limits

_LARGEST_SHIFT = 60.0  # on the logit scale; shifts the smallest probability, 1e-8, to 1
_CLIPPED = f"probabilities clipped to {CLIP:g} from 0 and 1"


def brier(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Brier score: mean squared difference between probability and outcome, 0 (best) to 1.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level
        Confidence level. The score is π B₁ + (1 − π) B₀ with the prevalence π and the mean squared
        differences B₁ and B₀ of the positive and the negative cases. Wilson's interval of π and
        Student's t intervals of B₁ and B₀ are combined (MOVER), clipped to 0–1.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient.
        Default: one case per patient.

    Returns
    -------
    Estimate
        No interval if a class has fewer than two patients or all squared differences are equal.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing or differ in length, or a probability is
        outside 0–1.

    References
    ----------
    Brier, Mon Weather Rev 1950;78:1. Zou & Donner, Stat Med 2008;27:1693 (MOVER). Korn & Graubard,
    Surv Methodol 1998;24:193 (Wilson's interval by patient).

    Examples
    --------
    >>> print(brier([0, 0, 0, 1, 1, 1], [0.1, 0.4, 0.2, 0.35, 0.8, 0.7]))
    0.1271 (0.0000 to 0.4068)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
    squares = (scores - labels) ** 2
    score = float(squares.mean())
    numbers = np.arange(labels.size) if patients is None else patients
    method = f"mean square, parts of both classes combined (MOVER), {percent(level)}"
    if patients is not None:
        method += ", by patient"
    fewer = min(class_counts(labels, numbers))
    if fewer < 2:
        return Estimate.without_interval(score, method, _one_of_a_class(patients))
    if float(np.ptp(squares)) <= 1e-12:  # rounding
        return Estimate.without_interval(score, method, "the squared differences do not vary")
    low, high = _brier_limits(squares, labels, numbers, level)
    return Estimate(
        value=score, low=max(0.0, score - low), high=min(1.0, score + high), method=method
    )


def scaled_brier(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Scaled Brier score (Brier skill score): 1 − Brier / (π (1 − π)) with the prevalence π.

    1 is best; 0 equals a model that predicts the prevalence for every case.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level
        Confidence level; the interval is that of the logarithm of Brier / (π (1 − π)) by the delta
        method, with Student's t and one degree of freedom less than the rarer class has patients.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient.
        Default: one case per patient.

    Returns
    -------
    Estimate
        At most 1, may be negative; undefined if only one class is present, no interval if a class
        has fewer than two patients.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing or differ in length, or a probability is
        outside 0–1.

    References
    ----------
    Steyerberg et al., Epidemiology 2010;21:128. Bell & McCaffrey, Surv Methodol 2002;28:169
    (Student's t for few patients).

    Examples
    --------
    >>> round(scaled_brier([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 4)
    0.3675
    """
    labels, scores = checked_pair(y, p, probability=True)
    method = f"delta method on log Brier / (π (1 − π)), Student's t {percent(level)}"
    share = float(labels.mean())
    if share in (0.0, 1.0):
        return Estimate.undefined(method, ONE_CLASS)
    squares = (scores - labels) ** 2
    reference = share * (1 - share)
    score = float(squares.mean())
    ratio = score / reference
    patients = patient_numbers(groups, labels.size)
    if patients is not None:
        method += ", by patient"
    numbers = np.arange(labels.size) if patients is None else patients
    fewer = min(class_counts(labels, numbers))
    if fewer < 2:
        return Estimate.without_interval(1 - ratio, method, _one_of_a_class(patients))
    # Delta method: derivatives of B / (π (1 − π)) by B and by π.
    influence = (squares - score) - ratio * (1 - 2 * share) * (labels - share)
    error = clustered_standard_error(influence / reference, numbers)
    assert error is not None
    if error <= 1e-12 * max(1.0, ratio):
        return Estimate.without_interval(1 - ratio, method, "the cases do not vary")
    exponent = student_quantile(0.5 + level / 2, fewer - 1) * error / ratio
    factor = math.exp(min(exponent, 700.0))  # exp(710) overflows
    return Estimate(value=1 - ratio, low=1 - ratio * factor, high=1 - ratio / factor, method=method)


def calibration_intercept(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    joint: bool = False,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Calibration intercept: 0 is ideal; above 0, the probabilities are too low on average.

    By default the slope is fixed at 1 (calibration in the large), as the recommendations define it.
    With ``joint`` the intercept is fitted together with the slope; it then describes the
    calibration at probabilities near ½ only.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8 for the logit.
    level
        Confidence level; Wald interval, by patient with the bias-corrected sandwich variance.
    joint
        Also fit the slope.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient.
        Default: one case per patient.

    Returns
    -------
    Estimate
        Any number; undefined if only one class is present, or if the joint fit is not finite.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing or differ in length, or a probability is
        outside 0–1.

    References
    ----------
    Cox, Biometrika 1958;45:562. Van Calster et al., J Clin Epidemiol 2016;74:167. Mancl & DeRouen,
    Biometrics 2001;57:126 (by patient).

    Examples
    --------
    >>> print(calibration_intercept([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.9]))
    0.3322 (-1.7420 to 2.4065)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
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
    freedom = _patients_of_smaller_class(labels, patients) if joint else None
    if joint and patients is None and min(class_counts(labels, None)) < FEWEST_CASES:
        why = f"a class has fewer than {FEWEST_CASES} cases: the standard error is too large"
        return Estimate.without_interval(fit.intercept, method, why)
    return _wald(fit.intercept, fit.intercept_error, level=level, method=method, fewer=freedom)


def calibration_slope(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Calibration slope: 1 is ideal; below 1, the probabilities are too extreme (overfitting).

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8 for the logit.
    level
        Confidence level; Wald interval, by patient with the bias-corrected sandwich variance.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient.
        Default: one case per patient.

    Returns
    -------
    Estimate
        Any number; undefined if only one class is present, all probabilities are equal, or the
        classes are separated.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing or differ in length, or a probability is
        outside 0–1.

    References
    ----------
    Cox, Biometrika 1958;45:562. Van Calster et al., J Clin Epidemiol 2016;74:167. Mancl & DeRouen,
    Biometrics 2001;57:126 (by patient).

    Examples
    --------
    >>> print(calibration_slope([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.9]))
    0.9203 (-0.9414 to 2.7820)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
    method = f"logistic recalibration, {_wald_name(level, patients)}, {_CLIPPED}"
    fit = fit_logistic(labels, logit(scores), patients=patients)
    if isinstance(fit, str):
        return Estimate.undefined(method, fit)
    freedom = _patients_of_smaller_class(labels, patients)
    return _wald(fit.slope, fit.slope_error, level=level, method=method, fewer=freedom)


def observed_expected(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Observed / expected events, O/E (not E/O): above 1, the probabilities are too low on average.

    The interval is a score interval: it contains each ratio for which O is within z standard
    deviations of the events expected after all probabilities are shifted by the same amount on the
    logit scale. The variance is Σp(1 − p) of the shifted probabilities, so that the interval is
    narrow for a sharp model; if all probabilities are equal, it is Wilson's. If the residuals vary
    more than this variance (an overconfident model, or similar cases of a patient), the variance is
    multiplied by the ratio (dispersion). The interval is also defined if no case, or every case, is
    positive.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8 for the logit.
    level
        Confidence level.
    groups
        Patient of each case, shape (n,), numbers or strings; residuals are then summed by patient,
        and the variance is enlarged further if patients are few. A patient's cases are taken as
        fully dependent (Kish's design effect) if the residuals give no estimate: no case or every
        case positive, or one patient. Default: one case per patient.

    Returns
    -------
    Estimate
        ≥ 0; undefined if every probability is 0.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing or differ in length, or a probability is
        outside 0–1.

    References
    ----------
    Debray et al., BMJ 2017;356:i6460. Wilson, J Am Stat Assoc 1927;22:209. McCullagh & Nelder,
    Generalized Linear Models 1989, section 4.5 (dispersion). Rao & Scott, Biometrics 1992;48:577
    and Korn & Graubard, Surv Methodol 1998;24:193 (by patient). Kish, Survey Sampling 1965.

    Examples
    --------
    >>> print(observed_expected([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.9]))
    1.1111 (0.4651 to 1.6315)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
    method = (
        f"O/E, score interval {percent(level)} from Σp(1 − p), not below the residuals' variance"
    )
    expected = float(scores.sum())
    if expected < 1e-300:  # 0, or so near that the ratio overflows
        return Estimate.undefined(method, "every probability is 0")
    offset = logit(scores)
    factor, words = _dispersion(labels, offset, patients=patients, level=level)
    events = int(labels.sum())
    bound = two_sided_z(level) * math.sqrt(factor)
    low = 0.0 if events == 0 else _shifted_events(offset, events, -bound)
    high = float(labels.size) if events == labels.size else _shifted_events(offset, events, bound)
    return Estimate(
        value=events / expected, low=low / expected, high=high / expected, method=method + words
    )


def _brier_limits(
    squares: Floats, labels: Bools, patients: Ints, level: float
) -> tuple[float, float]:
    """Distances of the limits of π B₁ + (1 − π) B₀ below and above it (MOVER)."""
    tail = 0.5 + level / 2
    share = float(labels.mean())
    error = clustered_standard_error(labels.astype(np.float64) - share, patients)
    share_low = share_high = share
    if error is not None and error > 1e-12:  # 0 if all patients have the same share
        # Wilson's interval at the number of independent cases with the same standard error.
        effective = share * (1 - share) / error**2
        z = student_quantile(tail, int(patients.max()))
        share_low, share_high = wilson_limits(share * effective, effective, quantile=z)
    within = 0.0
    means = []
    for of_class, weight in ((labels, share), (~labels, 1 - share)):
        numbers = np.unique(patients[of_class], return_inverse=True)[1]
        mean = float(squares[of_class].mean())
        own = clustered_standard_error(squares[of_class] - mean, numbers)
        assert own is not None
        means.append(mean)
        within += (weight * own * student_quantile(tail, int(numbers.max()))) ** 2
    ends = sorted((means[0] - means[1]) * (end - share) for end in (share_low, share_high))
    return math.hypot(ends[0], math.sqrt(within)), math.hypot(ends[1], math.sqrt(within))


def _one_of_a_class(patients: Ints | None) -> str:
    return f"a class has fewer than two {'cases' if patients is None else 'patients'}"


def _wald_name(level: float, patients: Ints | None) -> str:
    """Name of the interval, for ``method``."""
    return f"Wald {percent(level)}" + (
        "" if patients is None else " by patient (bias-corrected sandwich)"
    )


def _patients_of_smaller_class(labels: Bools, patients: Ints | None) -> int | None:
    """Patients with cases of the rarer class; None if the cases are independent."""
    return None if patients is None else min(class_counts(labels, patients))


def _wald(value: float, error: float, *, level: float, method: str, fewer: int | None) -> Estimate:
    """Wald interval: value ± quantile · standard error; none if the error is NaN or 0.

    The quantile is normal. By patient, if the slope is fitted, it is Student's t with one degree of
    freedom less than the rarer class has patients (``fewer``), on whom the sandwich depends.
    """
    quantile = two_sided_z(level)
    if fewer is not None:
        if fewer < FEWEST_CASES:
            why = f"a class has fewer than {FEWEST_CASES} patients: too few for a standard error"
            return Estimate.without_interval(value, method, why)
        method = method.replace("Wald", f"Student's t (df {fewer - 1})")
        quantile = student_quantile(0.5 + level / 2, fewer - 1)
    if not math.isfinite(error):
        return Estimate.without_interval(value, method, "too few patients for a standard error")
    # Rounding error of 0, for example if every patient has one positive and one negative case.
    if error < 1e-9 * max(1.0, abs(value)):
        return Estimate.without_interval(value, method, "the patients do not vary")
    half = quantile * error
    return Estimate(value=value, low=value - half, high=value + half, method=method)


def _dispersion(
    labels: Bools, offset: Floats, patients: Ints | None, level: float
) -> tuple[float, str]:
    """Dispersion: factor on the variance Σp(1 − p), at least 1; and its description."""
    fit = fit_intercept(labels, offset)
    scatter, residuals = 1.0, np.zeros(labels.size)
    if isinstance(fit, LogisticFit):
        fitted = expit(offset + fit.intercept)
        residuals = labels - fitted
        scatter = max(1.0, float((residuals**2).sum()) / float((fitted * (1 - fitted)).sum()))
    if patients is None:
        return scatter, ""
    count, by_case = int(patients.max()) + 1, float((residuals**2).sum())
    if by_case == 0 or count == 1:
        dependent = kish_design_effect(np.bincount(patients)[:, None], np.ones(1))
        return scatter * dependent, ", by patient (cases of a patient fully dependent)"
    # Ratio of Student's quantiles for patients and for cases, as in `adjusted_design_effect`.
    tail = 0.5 + level / 2
    width = student_quantile(tail, count - 1) / student_quantile(tail, labels.size - 1)
    effect = count / (count - 1) * float((patient_sums(residuals, patients) ** 2).sum()) / by_case
    return scatter * max(1.0, effect * width**2), ", by patient"


def _shifted_events(offset: Floats, events: int, bound: float) -> float:
    """Return the expected events that lie ``bound`` standard deviations above the observed ones.

    The probabilities are shifted on the logit scale; a negative bound means below.
    """

    def moments(shift: float) -> tuple[float, float]:
        fitted = expit(offset + shift)
        return float(fitted.sum()), float((fitted * (1 - fitted)).sum())

    def excess(shift: float) -> float:
        mean, variance = moments(shift)
        return mean - events - bound * math.sqrt(variance)

    return moments(_root(excess, -_LARGEST_SHIFT, _LARGEST_SHIFT))[0]


def _root(function: Callable[[float], float], left: float, right: float) -> float:
    """Root of a function that is negative at ``left`` and positive at ``right``, by bisection."""
    for _ in range(45):  # halves 120 to 3e-12 on the logit scale
        middle = (left + right) / 2
        if function(middle) < 0:
            left = middle
        else:
            right = middle
    return (left + right) / 2
