"""Class-conditional conformal sets: the limit of each class, and the coverage that n cases give."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.inputs import Floats

_SAME = 1e-9
"""Tolerance of a product of n + 1 and 1 − α that is a whole number up to rounding."""


@dataclass(frozen=True)
class ConformalLimit:
    """Largest nonconformity with which a class is in the set, and the coverage that this gives.

    The nonconformity of a class is 1 − its probability.

    Attributes
    ----------
    n
        Calibration cases of the class.
    limit
        The ⌈(n + 1)(1 − α)⌉-th smallest nonconformity of these cases, 0–1.
    low, high
        Limits of the expected coverage: 1 − α and 1 − α + 1 / (n + 1).
    range_low, range_high
        Central 95 % of the coverage over calibration samples of this size: the distribution
        Beta(k, n + 1 − k).
    """

    n: int
    limit: float
    low: float
    high: float
    range_low: float
    range_high: float


def fewest_cases(error_rate: float) -> int:
    """Return the fewest calibration cases of a class: 1/α − 1, rounded up.

    Examples
    --------
    >>> fewest_cases(0.1)
    9
    """
    return math.ceil(1 / error_rate - 1 - _SAME)


def conformal_limit(p_of_truth: ArrayLike, error_rate: float) -> ConformalLimit:
    """Fit the limit of one class on cases of that class (Mondrian conformal prediction).

    Parameters
    ----------
    p_of_truth
        Probability that each case of the class gets for this class, from a model that was not
        trained on it; shape (n,).
    error_rate
        α: allowed share of cases of the class whose set lacks the class, 0–1.

    Returns
    -------
    ConformalLimit

    Raises
    ------
    StatsError
        There are fewer than 1/α − 1 cases: no finite limit has the coverage.

    References
    ----------
    .. [1] Vovk V. Conditional validity of inductive conformal predictors. Mach Learn 2013;92:349.
    .. [2] Vovk V. Cross-conformal predictors. Ann Math Artif Intell 2015;74:9.

    Examples
    --------
    >>> found = conformal_limit([0.9, 0.8, 0.7, 0.95, 0.6, 0.85, 0.99, 0.3, 0.75], 0.1)
    >>> round(found.limit, 3), round(found.low, 3)
    (0.7, 0.9)
    """
    scores = 1 - np.asarray(p_of_truth, dtype=np.float64)
    n, fewest = scores.size, fewest_cases(error_rate)
    if n < fewest:
        raise StatsError(
            "too few calibration cases of a class for a conformal set",
            found=f"{n} cases",
            expected=f"{fewest} or more, 1/α − 1 with α = {error_rate:g}",
            remedy="add cases of this class, or allow a larger error rate",
        )
    from scipy.special import betaincinv

    k = math.ceil((n + 1) * (1 - error_rate) - _SAME)
    return ConformalLimit(
        n=n,
        limit=float(np.sort(scores)[k - 1]),
        low=1 - error_rate,
        high=min(1.0, 1 - error_rate + 1 / (n + 1)),
        range_low=float(betaincinv(k, n + 1 - k, 0.025)),
        range_high=float(betaincinv(k, n + 1 - k, 0.975)),
    )


def class_limits(
    p: ArrayLike, labels: ArrayLike, patients: ArrayLike, classes: Sequence[str], error_rate: float
) -> dict[str, ConformalLimit]:
    """Fit the limit of every class, one value a patient.

    Of a patient with several cases of a class the least probable counts, so that the values are
    those of independent patients.

    Parameters
    ----------
    p
        Out-of-fold probabilities, shape (n, classes).
    labels, patients
        Class and patient of each case, shape (n,).
    classes
        The classes, in the order of the columns.
    error_rate
        α, as for ``conformal_limit``.

    Raises
    ------
    StatsError
        A class has fewer than 1/α − 1 patients; the class is named.

    Examples
    --------
    >>> p = np.linspace([0.9, 0.1], [0.1, 0.9], 20)
    >>> labels = np.repeat(["benign", "malignant"], 10)
    >>> limits = class_limits(p, labels, np.arange(20), ["benign", "malignant"], 0.1)
    >>> limits["benign"].n, round(limits["benign"].limit, 3)
    (10, 0.479)
    """
    values, truth, who = np.asarray(p, dtype=np.float64), np.asarray(labels), np.asarray(patients)
    limits = {}
    for place, name in enumerate(classes):
        own = truth == name
        people, rows = np.unique(who[own], return_inverse=True)
        least = np.ones(len(people))
        np.minimum.at(least, rows, values[own, place])
        try:
            limits[name] = conformal_limit(least, error_rate)
        except StatsError as error:
            error.found = f"class {name}: {error.found}"
            raise
    return limits


def conformal_sets(p: ArrayLike, limits: ArrayLike) -> np.ndarray:
    """Return which classes are in the set of each case.

    Parameters
    ----------
    p
        Probabilities, shape (cases, classes).
    limits
        ``ConformalLimit.limit`` of each class, shape (classes,).

    Returns
    -------
    numpy.ndarray
        Boolean, (cases, classes).

    Examples
    --------
    >>> conformal_sets([[0.9, 0.1], [0.5, 0.5]], [0.6, 0.7]).tolist()
    [[True, False], [True, True]]
    """
    scores: Floats = 1 - np.asarray(p, dtype=np.float64)
    # A calibration case is in its own set despite the rounding of 1 − p.
    return np.asarray(scores <= np.asarray(limits, dtype=np.float64) + 1e-12)
