"""Recalibration, fitted on validation cases and applied to others: temperature, Platt, isotonic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.inputs import ONE_CLASS, Bools, Floats, checked_pair, checked_scores
from ctbone.stats.logistic import CLIP, expit, fit_logistic, logit

_LOWEST_TEMPERATURE, _HIGHEST_TEMPERATURE = 0.01, 100.0


@dataclass(frozen=True)
class TemperatureScaling:
    """Logits divided by a temperature; above 1 it draws the probabilities towards ½.

    Parameters
    ----------
    temperature
        0.01–100.
    """

    temperature: float

    def apply(self, p: ArrayLike) -> Floats:
        """Recalibrate probabilities, shape (n,), or those of every class, shape (n, classes)."""
        if np.ndim(p) == 2:
            return _softmax(_logs(p) / self.temperature)
        return expit(logit(_probabilities(p)) / self.temperature)


@dataclass(frozen=True)
class PlattScaling:
    """Logistic recalibration of the logit.

    Parameters
    ----------
    intercept, slope
        On the logit scale.
    """

    intercept: float
    slope: float

    def apply(self, p: ArrayLike) -> Floats:
        """Recalibrate probabilities, shape (n,)."""
        return expit(self.intercept + self.slope * logit(_probabilities(p)))


@dataclass(frozen=True)
class IsotonicRegression:
    """The best non-decreasing map: straight between its knots, flat beyond them.

    Parameters
    ----------
    probabilities, calibrated
        Knots, ascending, shape (knots,).
    """

    probabilities: tuple[float, ...]
    calibrated: tuple[float, ...]

    def apply(self, p: ArrayLike) -> Floats:
        """Recalibrate probabilities, shape (n,)."""
        return np.asarray(
            np.interp(_probabilities(p), self.probabilities, self.calibrated), dtype=np.float64
        )


def fit_temperature(y: ArrayLike, p: ArrayLike) -> TemperatureScaling:
    """Find the temperature with the least log loss, within 0.01–100.

    Where the classes are separated the loss falls all the way to 0.01, which is then the answer.

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
        If only one class is present, or labels or probabilities are missing, do not fit together or
        leave 0–1.

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

    # The loss is convex in 1 / T: find where its slope changes sign.
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
    """Fit a logistic regression of the outcome on the logit, with Platt's softened targets.

    The targets (events + 1) / (events + 2) and 1 / (non-events + 2) keep the slope finite under
    separation.

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
        missing, do not fit together or leave 0–1.

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
    """Fit the non-decreasing map with the least squared error; it needs many validation cases.

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
        If only one class is present, or labels or probabilities are missing, do not fit together or
        leave 0–1.

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
            "these cases cannot be recalibrated", found="labels that are no class numbers"
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
