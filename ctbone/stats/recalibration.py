"""Recalibration: temperature scaling, Platt scaling and isotonic regression, fitted and applied."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.inputs import ONE_CLASS, Bools, Floats, checked_pair, checked_scores
from ctbone.stats.logistic import CLIP, expit, fit_logistic, logit

# Limits of the fitted temperature (no unit). Under separation the optimum is 0, the lower limit.
_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.01, 100.0


@dataclass(frozen=True)
class TemperatureScaling:
    """Temperature scaling: logits divided by a temperature; above 1, probabilities move towards ½.

    Parameters
    ----------
    temperature
        Divisor of the logits, 0.01–100.
    """

    temperature: float

    def apply(self, p: ArrayLike) -> Floats:
        """Recalibrate probabilities, shape (n,), or those of every class, shape (n, classes)."""
        if np.ndim(p) == 2:
            return _softmax(_logs(p) / self.temperature)
        return expit(logit(_probabilities(p)) / self.temperature)


@dataclass(frozen=True)
class PlattScaling:
    """Platt scaling: logistic regression of the outcome on the logit of the probability.

    Parameters
    ----------
    intercept, slope
        Coefficients on the logit scale.
    """

    intercept: float
    slope: float

    def apply(self, p: ArrayLike) -> Floats:
        """Recalibrate probabilities, shape (n,)."""
        return expit(self.intercept + self.slope * logit(_probabilities(p)))


@dataclass(frozen=True)
class IsotonicRegression:
    """Isotonic regression: non-decreasing map, linear between its knots and constant outside.

    Parameters
    ----------
    probabilities, calibrated
        Coordinates of the knots, ascending, shape (knots,), 0–1.
    """

    probabilities: tuple[float, ...]
    calibrated: tuple[float, ...]

    def apply(self, p: ArrayLike) -> Floats:
        """Recalibrate probabilities, shape (n,)."""
        return np.asarray(
            np.interp(_probabilities(p), self.probabilities, self.calibrated), dtype=np.float64
        )


def fit_temperature(y: ArrayLike, p: ArrayLike) -> TemperatureScaling:
    """Fit temperature scaling: the temperature within 0.01–100 with the smallest log loss.

    If the classes are separated, the loss decreases down to the limit 0.01, which is returned.

    Parameters
    ----------
    y
        Labels of the validation cases, shape (n,): 1 for the positive class, or the number of the
        class.
    p
        Their probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8. Or those of every
        class, shape (n, classes).

    Returns
    -------
    TemperatureScaling

    Raises
    ------
    StatsError
        If only one class is present, or labels or probabilities are missing or differ in length, or
        a probability is outside 0–1.

    References
    ----------
    Guo et al., ICML 2017:1321.

    Examples
    --------
    >>> round(fit_temperature([0, 1, 0, 1, 1], [0.02, 0.1, 0.9, 0.9, 0.98]).temperature, 3)
    3.752
    """
    if np.ndim(p) == 2:
        numbers, logs = _many_classes(y, p)
        of_truth = logs[np.arange(len(logs)), numbers].sum()

        def slope_of_loss(sharpness: float) -> float:
            return float((logs * _softmax(sharpness * logs)).sum() - of_truth)
    else:
        labels, scores = _two_classes(y, p)
        linear = logit(scores)

        def slope_of_loss(sharpness: float) -> float:
            return float((linear * (expit(sharpness * linear) - labels)).sum())

    # The log loss is convex in 1 / T: bisect (geometrically) for the zero of its derivative.
    low, high = 1 / _HIGHEST_TEMPERATURE, 1 / _LOWEST_TEMPERATURE
    if slope_of_loss(low) >= 0:
        return TemperatureScaling(_HIGHEST_TEMPERATURE)
    if slope_of_loss(high) <= 0:
        return TemperatureScaling(_LOWEST_TEMPERATURE)
    for _ in range(100):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope_of_loss(middle) < 0 else (low, middle)
    return TemperatureScaling(2 / (low + high))


def fit_platt(y: ArrayLike, p: ArrayLike) -> PlattScaling:
    """Fit Platt scaling: logistic regression of the outcome on the logit, with Platt's targets.

    The targets (events + 1) / (events + 2) and 1 / (non-events + 2) in place of 1 and 0 keep the
    slope finite under separation.

    Parameters
    ----------
    y
        Labels of the validation cases, shape (n,), 1 for the positive class.
    p
        Their probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8.

    Returns
    -------
    PlattScaling

    Raises
    ------
    StatsError
        If only one class is present, every probability is the same, or labels or probabilities are
        missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    Platt, in Advances in Large Margin Classifiers 1999:61. Lin, Lin & Weng, Mach Learn 2007;68:267.

    Examples
    --------
    >>> round(fit_platt([0, 1, 0, 1, 1], [0.02, 0.1, 0.9, 0.9, 0.98]).slope, 3)
    0.134
    """
    labels, scores = _two_classes(y, p)
    events = int(labels.sum())
    targets = np.where(labels, (events + 1) / (events + 2), 1 / (labels.size - events + 2))
    fit = fit_logistic(targets, logit(scores), separable=False)
    if isinstance(fit, str):
        raise StatsError("these cases cannot be recalibrated", found=fit)
    return PlattScaling(fit.intercept, fit.slope)


def fit_isotonic(y: ArrayLike, p: ArrayLike) -> IsotonicRegression:
    """Fit isotonic regression: the non-decreasing map with the least squared error.

    It needs many validation cases.

    Parameters
    ----------
    y
        Labels of the validation cases, shape (n,), 1 for the positive class.
    p
        Their probabilities, shape (n,).

    Returns
    -------
    IsotonicRegression

    Raises
    ------
    StatsError
        If only one class is present, or labels or probabilities are missing or differ in length, or
        a probability is outside 0–1.

    References
    ----------
    Zadrozny & Elkan, KDD 2002:694.

    Examples
    --------
    >>> fit_isotonic([0, 1, 0, 1, 1], [0.1, 0.3, 0.4, 0.8, 0.9]).calibrated
    (0.0, 0.5, 0.5, 1.0, 1.0)
    """
    from scipy.optimize import isotonic_regression

    labels, scores = _two_classes(y, p)
    knots, place = np.unique(scores, return_inverse=True)
    cases = np.bincount(place)
    shares = np.bincount(place, weights=labels) / cases
    calibrated = isotonic_regression(shares, weights=cases).x
    return IsotonicRegression(tuple(knots.tolist()), tuple(calibrated.tolist()))


def _two_classes(y: ArrayLike, p: ArrayLike) -> tuple[Bools, Floats]:
    labels, scores = checked_pair(y, p, probability=True)
    if labels.all() or not labels.any():
        raise StatsError(
            "these cases cannot be recalibrated",
            found=ONE_CLASS,
            remedy="fit on validation cases of both classes",
        )
    return labels, scores


def _probabilities(p: ArrayLike) -> Floats:
    return checked_scores(p, np.size(p), probability=True)


def _many_classes(y: ArrayLike, p: ArrayLike) -> tuple[np.ndarray, Floats]:
    logs = _logs(p)
    numbers = np.asarray(y)
    if numbers.shape != (len(logs),) or not np.isin(numbers, range(logs.shape[1])).all():
        raise StatsError(
            "these cases cannot be recalibrated", found="labels that are not class numbers"
        )
    if len(np.unique(numbers)) < 2:
        raise StatsError("these cases cannot be recalibrated", found=ONE_CLASS)
    return numbers.astype(int), logs


def _logs(p: ArrayLike) -> Floats:
    values = np.asarray(p, dtype=np.float64)
    checked_scores(values.ravel(), values.size, probability=True)
    return np.log(np.clip(values, CLIP, 1 - CLIP))


def _softmax(logs: Floats) -> Floats:
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=1, keepdims=True), dtype=np.float64)
