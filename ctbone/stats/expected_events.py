"""Calibration in one ratio: events observed over events expected."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.clusters import kish_factor, patient_sums, patients_of
from ctbone.stats.distributions import student_quantile, two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import Bools, Floats, Ints, checked_pair, percent
from ctbone.stats.logistic import LogisticFit, expit, fit_intercept, logit

_FARTHEST = 60.0  # on the logit; it takes the most extreme probability, 1e-8, to 1 and beyond


def observed_expected(
    y: ArrayLike, p: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Observed over expected events, O/E (not E/O): above 1 the probabilities are too low on average.

    The interval is a score interval: it holds each ratio at which O is within z standard deviations of what the
    probabilities, all shifted alike on the logit, would expect. Their own variance Σp(1 − p) makes it as narrow as a
    sharp model deserves; where all probabilities are the same it is Wilson's. Where the residuals scatter more than
    that variance (an overconfident model, or alike cases of a patient), it is enlarged by their ratio. It is defined
    where no case, or every case, is positive too.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,); 0 and 1 are clipped to 1e-8 and 1 − 1e-8 for the logit.
    level
        Confidence level.
    groups
        Patient of each case, shape (n,), numbers or strings; residuals are then summed by patient and the variance
        enlarged further where patients are few. A patient's cases are taken as fully dependent (Kish's factor) where
        residuals tell nothing: no case or every case positive, or one patient. Default: each case is a patient.

    Returns
    -------
    Estimate
        ≥ 0; undefined where every probability is 0.

    Raises
    ------
    StatsError
        If labels, probabilities or groups are missing, do not fit together or leave 0–1.

    References
    ----------
    Debray et al., BMJ 2017;356:i6460. Wilson, J Am Stat Assoc 1927;22:209. McCullagh & Nelder, Generalized Linear
    Models 1989, section 4.5 (dispersion). Rao & Scott, Biometrics 1992;48:577 and Korn & Graubard, Surv Methodol
    1998;24:193 (by patient). Kish, Survey Sampling 1965.

    Examples
    --------
    >>> print(observed_expected([0, 1, 0, 1, 1], [0.2, 0.3, 0.6, 0.7, 0.9]))
    1.1111 (0.4651 to 1.6315)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patients_of(groups, labels.size)
    method = (
        f"O/E, score interval {percent(level)} from Σp(1 − p), not below the residuals' variance"
    )
    expected = float(scores.sum())
    if expected < 1e-300:  # 0, or so near that the ratio overflows
        return Estimate.undefined(method, "every probability is 0")
    offset = logit(scores)
    factor, words = _dispersion(labels, offset, patients, level)
    events = int(labels.sum())
    bound = two_sided_z(level) * math.sqrt(factor)
    low = 0.0 if events == 0 else _shifted_events(offset, events, -bound)
    high = float(labels.size) if events == labels.size else _shifted_events(offset, events, bound)
    return Estimate(events / expected, low / expected, high / expected, method + words)


def _dispersion(
    labels: Bools, offset: Floats, patients: Ints | None, level: float
) -> tuple[float, str]:
    """By what the variance Σp(1 − p) is enlarged, not below 1; and how, in words."""
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
        dependent = kish_factor(np.bincount(patients)[:, None], np.ones(1))
        return scatter * dependent, ", by patient (cases of a patient fully dependent)"
    width = student_quantile(0.5 + level / 2, count - 1) / student_quantile(
        0.5 + level / 2, labels.size - 1
    )
    effect = count / (count - 1) * float((patient_sums(residuals, patients) ** 2).sum()) / by_case
    return scatter * max(1.0, effect * width**2), ", by patient"


def _shifted_events(offset: Floats, events: int, bound: float) -> float:
    """Events expected at the shift that lies ``bound`` standard deviations from those observed, above or below."""

    def moments(shift: float) -> tuple[float, float]:
        fitted = expit(offset + shift)
        return float(fitted.sum()), float((fitted * (1 - fitted)).sum())

    def excess(shift: float) -> float:
        mean, variance = moments(shift)
        return mean - events - bound * math.sqrt(variance)

    return moments(_root(excess, -_FARTHEST, _FARTHEST))[0]


def _root(function: Callable[[float], float], left: float, right: float) -> float:
    """Zero of a function that is negative at the left and positive at the right end."""
    for _ in range(45):  # to 1e-11 on the logit
        middle = (left + right) / 2
        if function(middle) < 0:
            left = middle
        else:
            right = middle
    return (left + right) / 2
