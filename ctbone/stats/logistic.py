"""Logistic regression on one covariate, for (re)calibration: intercept and slope, or offset."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ctbone.stats.clusters import patient_sums
from ctbone.stats.inputs import ONE_CLASS, Bools, Floats, Ints

CLIP = 1e-8  # probabilities are clipped to 1e-8 and 1 − 1e-8 before the logit (no unit)


@dataclass(frozen=True)
class LogisticFit:
    """Maximum-likelihood fit of logit P(y = 1) = intercept + slope · x.

    Parameters
    ----------
    intercept, slope
        Coefficients; the slope is 1 if it was fixed.
    intercept_error, slope_error
        Standard errors, from the information matrix or by patient; that of a fixed slope is 0. NaN
        if there are too few patients.
    """

    intercept: float
    slope: float
    intercept_error: float
    slope_error: float


def logit(p: Floats) -> Floats:
    """Logit of probabilities, clipped to ``CLIP`` and 1 − ``CLIP``.

    Examples
    --------
    >>> import numpy as np
    >>> logit(np.array([0.0, 0.5])).round(3)
    array([-18.421,   0.   ])
    """
    clipped = np.clip(p, CLIP, 1 - CLIP)
    return np.asarray(np.log(clipped / (1 - clipped)), dtype=np.float64)


def expit(x: Floats) -> Floats:
    """Inverse of the logit, without overflow.

    Examples
    --------
    >>> import numpy as np
    >>> expit(np.array([-800.0, 0.0, 800.0]))
    array([0. , 0.5, 1. ])
    """
    # 1 / (1 + exp(−x)) = (1 + tanh(x / 2)) / 2; tanh does not overflow.
    return np.asarray(0.5 * (1 + np.tanh(np.asarray(x) / 2)), dtype=np.float64)


def fit_intercept(
    labels: Bools | Floats, offset: Floats, patients: Ints | None = None
) -> LogisticFit | str:
    """Fit the intercept alone, with the slope fixed at 1.

    Parameters
    ----------
    labels
        Outcomes, shape (n,), False/True or fractions.
    offset
        Logits, shape (n,).
    patients
        Patient number of each case, shape (n,), for standard errors by patient; see `fit_logistic`.

    Returns
    -------
    LogisticFit or str
        A string gives the reason if there is no fit.

    Examples
    --------
    >>> import numpy as np
    >>> round(fit_intercept(np.array([False, True, True, True]), np.zeros(4)).intercept, 4)
    1.0986
    """
    events = float(labels.sum())
    if events in (0, labels.size):
        return ONE_CLASS
    # The expected number of events increases with the intercept: bisection always converges, while
    # Newton's method may diverge for extreme offsets. 40 on the logit scale is a probability of 1.
    low, high = -float(offset.max()) - 40, -float(offset.min()) + 40
    for _ in range(200):
        middle = (low + high) / 2
        if expit(offset + middle).sum() < events:
            low = middle
        else:
            high = middle
        if high - low < 1e-13 * max(1.0, abs(middle)):
            break
    intercept = (low + high) / 2
    fitted = expit(offset + intercept)
    weight = fitted * (1 - fitted)
    information = float(weight.sum())
    if information < 1e-300:
        return "the logits are too extreme for a standard error"
    error = 1 / math.sqrt(information)
    if patients is not None:
        rest = information - patient_sums(weight, patients)
        shifts = patient_sums(labels - fitted, patients)
        error = (
            math.sqrt(float(((shifts / rest) ** 2).sum()))
            if (rest > 1e-12 * information).all()
            else math.nan
        )
    return LogisticFit(intercept=intercept, slope=1.0, intercept_error=error, slope_error=0.0)


def fit_logistic(
    labels: Bools | Floats, x: Floats, *, separable: bool = True, patients: Ints | None = None
) -> LogisticFit | str:
    """Fit intercept and slope.

    With patients the standard errors come from the bias-corrected sandwich estimator by patient,
    which corrects each patient's residuals for its leverage (Mancl & DeRouen). The uncorrected
    sandwich (Liang & Zeger) is too small if patients are few: with 30 patients, its interval of the
    slope misses the true value twice as often as it should.

    Parameters
    ----------
    labels
        Outcomes, shape (n,), False/True or fractions.
    x
        Covariate, shape (n,).
    separable
        Check for separation first; fractional outcomes strictly between 0 and 1 cannot separate.
    patients
        Patient number of each case, shape (n,), for standard errors by patient; None if the cases
        are independent.

    Returns
    -------
    LogisticFit or str
        A string gives the reason if there is no fit: one class, a constant covariate, or classes
        separated by the covariate.

    References
    ----------
    Liang & Zeger, Biometrika 1986;73:13. Mancl & DeRouen, Biometrics 2001;57:126.

    Examples
    --------
    >>> import numpy as np
    >>> fit = fit_logistic(np.array([False, True, False, True]), np.array([0.0, 1.0, 2.0, 3.0]))
    >>> round(fit.slope, 4)
    0.9082
    """
    if labels.sum() in (0, labels.size):
        return ONE_CLASS
    if x.min() == x.max():
        return "every probability is the same"
    if separable:
        positive, negative = x[labels > 0.5], x[labels <= 0.5]
        if positive.min() >= negative.max() or positive.max() <= negative.min():
            return "the classes are separated: no finite slope fits best"
    centre, scale = float(x.mean()), float(x.std())
    design = np.column_stack([np.ones(x.size), (x - centre) / scale])
    fitted = _newton(labels.astype(np.float64), design)
    if fitted is None:
        return "the logistic fit does not converge"
    beta, covariance = fitted
    if patients is not None:
        covariance = _covariance_by_patient(
            labels.astype(np.float64), design, beta=beta, patients=patients
        )
    slope = float(beta[1]) / scale
    back = np.array([1.0, -centre / scale])
    return LogisticFit(
        intercept=float(beta[0]) - slope * centre,
        slope=slope,
        intercept_error=math.sqrt(float(back @ covariance @ back)),
        slope_error=math.sqrt(float(covariance[1, 1])) / scale,
    )


def _covariance_by_patient(outcome: Floats, design: Floats, beta: Floats, patients: Ints) -> Floats:
    """Bias-corrected sandwich (Mancl & DeRouen): Σ dᵢ dᵢ' with dᵢ = (I − Iᵢ)⁻¹ sᵢ.

    sᵢ and Iᵢ are the score and the information of patient i, I is the total information.
    """
    fitted = expit(design @ beta)
    weight, x = fitted * (1 - fitted), design[:, 1]
    of_patient = [patient_sums(part, patients) for part in (weight, weight * x, weight * x * x)]
    a, b, c = (float(part.sum()) - part for part in of_patient)
    first, second = (
        patient_sums(part, patients) for part in (outcome - fitted, (outcome - fitted) * x)
    )
    determinant = a * c - b * b
    if (determinant <= 1e-12 * float(of_patient[0].sum()) * float(of_patient[2].sum())).any():
        return np.full((2, 2), np.nan)
    shift = np.stack([c * first - b * second, a * second - b * first]) / determinant
    return np.asarray(shift @ shift.T, dtype=np.float64)


def _newton(outcome: Floats, design: Floats) -> tuple[Floats, Floats] | None:
    """Maximum likelihood by Newton's method: coefficients and covariance; None if it diverges."""
    share = float(outcome.mean())
    beta = np.array([math.log(share / (1 - share)), 0.0])
    try:
        for _ in range(100):
            fitted = expit(design @ beta)
            covariance = np.linalg.inv((design * (fitted * (1 - fitted))[:, None]).T @ design)
            step = covariance @ (design.T @ (outcome - fitted))
            beta = beta + step
            # Quadratic convergence: after a step of 1e-8 the error is about 1e-16.
            if float(np.abs(step).max()) < 1e-8 * (1 + float(np.abs(beta).max())):
                return np.asarray(beta, dtype=np.float64), np.asarray(covariance, dtype=np.float64)
    except np.linalg.LinAlgError:
        pass
    return None
