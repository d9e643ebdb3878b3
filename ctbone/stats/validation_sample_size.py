"""Sample size for the external validation of a prediction model (Riley 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ctbone.errors import StatsError
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.inputs import Floats
from ctbone.stats.logistic import expit

_NODES = 4000
"""Intervals of the midpoint rule for a normal linear predictor, over ±8 standard deviations."""


@dataclass(frozen=True)
class LinearPredictor:
    """Normal distribution of the logit of the predicted probability in the new patients.

    Attributes
    ----------
    mean, sd
        Of the logit.
    """

    mean: float
    sd: float

    @classmethod
    def from_auc(cls, auc: float, prevalence: float) -> LinearPredictor:
        """Find the distribution of a calibrated model with this AUC and prevalence.

        Examples
        --------
        >>> found = LinearPredictor.from_auc(0.8, 0.3)
        >>> round(found.auc, 3), round(found.prevalence, 3)
        (0.8, 0.3)
        """
        _check_prevalence(prevalence)
        if not 0.5 < auc < 1:
            raise StatsError("the AUC is outside its range", found=auc, expected="0.5 to 1")

        def centred(sd: float) -> LinearPredictor:
            return cls(_bisect(lambda mean: cls(mean, sd).prevalence - prevalence, -60, 60), sd)

        sd = _bisect(lambda spread: centred(spread).auc - auc, 1e-3, 20)
        return centred(sd)

    @property
    def prevalence(self) -> float:
        """Mean probability."""
        logits, weights = self.nodes()
        return float(weights @ expit(logits))

    @property
    def auc(self) -> float:
        """Expected AUC of the calibrated model."""
        logits, weights = self.nodes()
        p = expit(logits)
        events, others = weights * p, weights * (1 - p)
        below = np.concatenate([[0.0], np.cumsum(others)[:-1]])
        return float(events @ (below + others / 2) / (events.sum() * others.sum()))

    def nodes(self) -> tuple[Floats, Floats]:
        """Return logits and their weights, which sum to 1."""
        edges = np.linspace(-8, 8, _NODES + 1)
        middle = (edges[1:] + edges[:-1]) / 2
        weights = np.exp(-(middle**2) / 2)
        return self.mean + self.sd * middle, weights / weights.sum()


@dataclass(frozen=True)
class ValidationSize:
    """Cases for one criterion.

    Attributes
    ----------
    criterion
        ``O/E``, ``calibration slope`` or ``c-statistic``.
    width
        Wanted width of the confidence interval.
    standard_error
        That gives this width; for O/E, of its logarithm.
    cases
        Smallest number of cases.
    events
        Expected positive cases among them.
    """

    criterion: str
    width: float
    standard_error: float
    cases: int
    events: int


def validation_size(
    prevalence: float,
    auc: float,
    *,
    predictor: LinearPredictor | None = None,
    oe_width: float = 0.2,
    slope_width: float = 0.4,
    auc_width: float = 0.1,
    level: float = 0.95,
) -> tuple[ValidationSize, ...]:
    """Cases for precise O/E, calibration slope and c-statistic of a calibrated model.

    Parameters
    ----------
    prevalence, auc
        Expected in the new patients.
    predictor
        Distribution of the linear predictor; default: the normal one with this prevalence and AUC.
    oe_width, slope_width, auc_width
        Widths of the confidence intervals.
    level
        Confidence level.

    Returns
    -------
    tuple of ValidationSize
        One a criterion; the study needs the largest.

    Raises
    ------
    StatsError
        A value is outside its range.

    References
    ----------
    Riley, Debray, Collins, Archer, Ensor, van Smeden & Snell, Stat Med 2021;40:4230. Newcombe,
    Stat Med 2006;25:559 (standard error of the c-statistic).

    Examples
    --------
    >>> sizes = validation_size(0.018, 0.8, predictor=LinearPredictor(-5, 2.5), oe_width=1,
    ...                         slope_width=0.2)
    >>> [size.cases for size in sizes]
    [906, 4554, 4252]
    """
    _check_prevalence(prevalence)
    if min(oe_width, slope_width, auc_width) <= 0:
        raise StatsError("the width of an interval is not above 0")
    predictor = predictor or LinearPredictor.from_auc(auc, prevalence)
    z = two_sided_z(level)
    # Limits of O/E = 1: exp(±z SE), width 2 sinh(z SE).
    oe_error = math.asinh(oe_width / 2) / z
    slope_error, auc_error = slope_width / (2 * z), auc_width / (2 * z)
    counts = (
        ("O/E", oe_width, oe_error, (1 - prevalence) / (prevalence * oe_error**2)),
        ("calibration slope", slope_width, slope_error, _slope_cases(predictor, slope_error)),
        ("c-statistic", auc_width, auc_error, _auc_cases(auc, prevalence, auc_error)),
    )
    return tuple(
        ValidationSize(name, width, error, math.ceil(cases), math.ceil(cases * prevalence))
        for name, width, error, cases in counts
    )


def auc_standard_error(auc: float, prevalence: float, cases: float) -> float:
    """Newcombe's standard error of a c-statistic (method 4), as in Riley 2021.

    Examples
    --------
    >>> round(auc_standard_error(0.8, 0.5, 100), 4)
    0.0445
    """
    half = cases / 2 - 1
    spread = 1 + half * (1 - auc) / (2 - auc) + half * auc / (1 + auc)
    return math.sqrt(auc * (1 - auc) * spread / (cases**2 * prevalence * (1 - prevalence)))


def _slope_cases(predictor: LinearPredictor, error: float) -> float:
    """N = I₀ / (SE² (I₀ I₂ − I₁²)), with the information of one case, of a calibrated model."""
    logits, weights = predictor.nodes()
    p = expit(logits)
    information = weights * p * (1 - p)
    i0, i1, i2 = (float(information @ logits**power) for power in (0, 1, 2))
    return i0 / (error**2 * (i0 * i2 - i1**2))


def _auc_cases(auc: float, prevalence: float, error: float) -> float:
    """Smallest number of cases with this standard error."""
    if not 0.5 <= auc < 1:
        raise StatsError("the AUC is outside its range", found=auc, expected="0.5 to below 1")
    low, high = 4, 10_000_000
    while high - low > 1:
        middle = (low + high) // 2
        small = auc_standard_error(auc, prevalence, middle) <= error
        low, high = (low, middle) if small else (middle, high)
    return high


def _check_prevalence(prevalence: float) -> None:
    if not 0 < prevalence < 1:
        raise StatsError("the prevalence is not between 0 and 1", found=prevalence)


def _bisect(rising: Callable[[float], float], low: float, high: float) -> float:
    """Root of a rising function."""
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
