"""The flexible calibration curve, and the errors read from it: ICI, E50, E90, Emax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.binned_calibration import equal_width_bins
from ctbone.stats.bootstrap import defined_draws, unit_limits
from ctbone.stats.clustered_rates import clustered_proportion
from ctbone.stats.clusters import patient_numbers
from ctbone.stats.consistency_resampling import (
    chance_quantile_method,
    consistency_resamples,
    widen_to_chance_quantile,
)
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import ONE_CLASS, Bools, Floats, Ints, checked_pair, percent
from ctbone.stats.loess import loess_weights
from ctbone.stats.resampling import bootstrap_weights

_KNOTS = 60  # points at which the curve is fitted where there are more distinct probabilities
_VALUES = 2000  # more distinct probabilities than this are joined to as many neighbourhoods
_CURVE = "loess of the outcome on the probability, span 0.75, degree 2, cut at 0 and 1"


@dataclass(frozen=True)
class CalibrationBin:
    """Cases of one bin of probability.

    Parameters
    ----------
    left, right
        The bin (left, right]; the first holds 0 too.
    n, events
        Cases, and positive cases.
    mean_probability
        Mean predicted probability, 0–1.
    observed, low, high
        Share of positive cases with Wilson's interval, 0–1.
    """

    left: float
    right: float
    n: int
    events: int
    mean_probability: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True)
class CalibrationCurve:
    """Observed against predicted probability.

    Parameters
    ----------
    grid
        Predicted probabilities, ascending, shape (points,), within the range of the data.
    observed, low, high
        Smoothed share of positive cases and its pointwise band, shape (points,); empty where
        undefined.
    bins
        Equal-width bins that hold a case.
    histogram_edges
        Edges of the histogram, shape (bars + 1,).
    histogram_positive, histogram_negative
        Positive and negative cases in each bar, shape (bars,).
    method
        How curve and band were computed.
    why
        Why the curve is undefined; None where it is defined.
    """

    grid: Floats
    observed: Floats
    low: Floats
    high: Floats
    bins: tuple[CalibrationBin, ...]
    histogram_edges: Floats
    histogram_positive: Ints
    histogram_negative: Ints
    method: str
    why: str | None = None


@dataclass(frozen=True)
class CalibrationErrors:
    """Distance between the predicted probabilities and the flexible curve.

    Parameters
    ----------
    ici
        Integrated calibration index: the mean distance over the cases.
    e50, e90, emax
        Median, 90th percentile and maximum of the distance.
    """

    ici: Estimate
    e50: Estimate
    e90: Estimate
    emax: Estimate


def calibration_curve(
    y: ArrayLike,
    p: ArrayLike,
    *,
    points: int = 101,
    bins: int = 10,
    histogram_bins: int = 50,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> CalibrationCurve:
    """Flexible calibration curve with its band, binned points and the histogram below it.

    The band is pointwise normal: the curve is a weighted sum of the outcomes, whose variance is
    taken as c (1 − c) at the curve c. Where patients have several cases, the products of the
    weighted residuals of each two cases of a patient are added, as in the sandwich, unless they
    would make the band narrower.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    points
        Points of the grid, from the lowest probability to the highest.
    bins
        Equal-width bins, right-closed.
    histogram_bins
        Bars of the histogram over 0–1, right-closed.
    level
        Pointwise confidence level of the band and of the bins' intervals (Wilson).
    groups
        Patient of each case, shape (n,), numbers or strings; band and intervals are then by
        patient. Default: each case is a patient.

    Returns
    -------
    CalibrationCurve
        Bins and histogram are given where the curve is undefined (one class) too.

    Raises
    ------
    StatsError
        If labels or probabilities are missing, do not fit together or leave 0–1.

    References
    ----------
    Austin & Steyerberg, Stat Med 2014;33:517 (loess). Van Calster et al., J Clin Epidemiol
    2016;74:167. Liang & Zeger, Biometrika 1986;73:13 (band by patient). Rao & Scott, Biometrics
    1992;48:577 (bins by patient).

    Examples
    --------
    >>> curve = calibration_curve([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9], points=3)
    >>> curve.grid, curve.bins[0].observed
    (array([0.1, 0.5, 0.9]), 0.0)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
    method = f"{_CURVE}, pointwise normal band {percent(level)}{'' if patients is None else ', band and bins by patient'}"
    edges = np.arange(histogram_bins + 1) / histogram_bins
    bar = equal_width_bins(scores, histogram_bins)
    grid = observed = low = high = np.empty(0)
    why = ONE_CLASS if labels.all() or not labels.any() else None
    if why is None:
        grid = (
            np.linspace(scores.min(), scores.max(), points)
            if scores.min() < scores.max()
            else scores[:1]
        )
        values, place = _distinct(scores)
        cases = np.bincount(place).astype(np.float64)
        weights = loess_weights(values, cases, grid)
        observed = np.clip(weights @ np.bincount(place, weights=labels), 0, 1)
        at_values = np.interp(values, grid, observed)
        variance = weights**2 @ (cases * at_values * (1 - at_values))
        if patients is not None:
            residuals = labels - at_values[place]
            variance += np.maximum(0, _within_patient_products(weights, place, residuals, patients))
        half = two_sided_z(level) * np.sqrt(variance)
        low, high = np.clip(observed - half, 0, 1), np.clip(observed + half, 0, 1)
    return CalibrationCurve(
        grid,
        observed,
        low,
        high,
        _bins(labels, scores, bins, level, patients),
        edges,
        np.bincount(bar[labels], minlength=histogram_bins),
        np.bincount(bar[~labels], minlength=histogram_bins),
        method,
        why,
    )


def calibration_errors(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = 500,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> CalibrationErrors:
    """ICI, E50, E90 and Emax: distances between the probabilities and the flexible curve (loess, not lowess).

    The curve is fitted at every distinct probability, or at 60 of their quantiles with straight
    lines between them where there are more; above 2000 distinct probabilities neighbours are
    joined. Intervals are the basic bootstrap's (percentiles mirrored at the value, cut at 0 and 1,
    widened to hold the value): resampling roughens the curve, and plain percentiles would lie above
    the value. The curve of a perfectly calibrated model leaves the diagonal by chance too; an error
    that is not above the (1 + level) / 2 quantile of what outcomes drawn from the probabilities
    give gets an interval that begins at 0 and reaches at least to that quantile. Where patients
    have several cases, all of a patient's outcomes are drawn with one random number, as dependent
    as can be.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level, replicates, seed, groups
        Of the bootstrap, which is not stratified: the share of positive cases is one of the things
        in doubt. Resamples of one class are left out. 0 replicates for no interval.

    Returns
    -------
    CalibrationErrors
        Each 0 (best) to 1; undefined where only one class is present, without interval where the
        resamples do not vary or more than a tenth of them are of one class.

    Raises
    ------
    StatsError
        If labels or probabilities are missing, do not fit together or leave 0–1.

    References
    ----------
    Austin & Steyerberg, Stat Med 2019;38:4051. Bröcker & Smith, Weather and Forecasting 2007;22:651
    (outcomes drawn from the probabilities).

    Examples
    --------
    >>> errors = calibration_errors([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9], replicates=20)
    >>> round(errors.ici.value, 3), errors.ici.value <= errors.emax.value
    (0.333, True)
    """
    labels, scores = checked_pair(y, p, probability=True)
    method = f"{_CURVE}; "
    if labels.all() or not labels.any():
        nothing = Estimate.undefined(method + "no interval", ONE_CLASS)
        return CalibrationErrors(nothing, nothing, nothing, nothing)
    values, place = _distinct(scores)
    knots = (
        values
        if values.size <= _KNOTS
        else np.unique(np.quantile(values, np.linspace(0, 1, _KNOTS)))
    )
    found = _distances(np.ones(labels.size), labels, scores, values, place, knots)
    if not replicates:
        return CalibrationErrors(
            *(
                Estimate(float(value), None, None, method + "no interval", "no resample asked for")
                for value in found
            )
        )
    unit = "cases" if groups is None else "patients"
    method += f"bootstrap of {unit}, basic {percent(level)}, {replicates} resamples; {chance_quantile_method(level)}"
    draws = np.array(
        [
            _distances(row, labels, scores, values, place, knots)
            for weights in bootstrap_weights(
                labels, replicates=replicates, seed=seed, groups=groups, stratified=False
            )
            for row in weights
        ]
    )
    patients = patient_numbers(groups, labels.size)
    chance = np.concatenate(
        [
            _distances_of_outcomes(outcomes, scores, values, place, knots)
            for outcomes in consistency_resamples(
                scores, patients, replicates=replicates, seed=seed
            )
        ]
    )
    return CalibrationErrors(
        *(
            _error(value, drawn, by_chance, level, method)
            for value, drawn, by_chance in zip(found.tolist(), draws.T, chance.T, strict=True)
        )
    )


def ici(
    y: ArrayLike,
    p: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = 500,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Integrated calibration index alone; see `calibration_errors`.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level, replicates, seed, groups
        As for `calibration_errors`.

    Returns
    -------
    Estimate
        0 (best) to 1; undefined where only one class is present.

    Raises
    ------
    StatsError
        If labels or probabilities are missing, do not fit together or leave 0–1.

    References
    ----------
    Austin & Steyerberg, Stat Med 2019;38:4051.

    Examples
    --------
    >>> round(ici([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9], replicates=20).value, 3)
    0.333
    """
    return calibration_errors(
        y, p, level=level, replicates=replicates, seed=seed, groups=groups
    ).ici


def _distinct(scores: Floats) -> tuple[Floats, Ints]:
    """Distinct probabilities, ascending, and the place of each case among them; neighbours joined if too many."""
    values, place = np.unique(scores, return_inverse=True)
    if values.size <= _VALUES:
        return values, place
    group = (np.arange(values.size) * _VALUES // values.size)[place]
    return np.bincount(group, weights=scores) / np.bincount(group), group


def _error(value: float, draws: Floats, chance: Floats, level: float, method: str) -> Estimate:
    """Give an error its interval from resamples and from calibrated outcomes."""
    finite, why = defined_draws(draws)
    if finite.size < draws.size:
        method += f"; {draws.size - finite.size} resamples of one class left out"
    if why is not None:
        return Estimate(value, None, None, method, why)
    bottom, top = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]).tolist()
    limits = unit_limits(value, 2 * value - top, 2 * value - bottom)
    return Estimate(value, *widen_to_chance_quantile(value, *limits, chance, level), method)


def _distances(
    weights: Floats, labels: Bools, scores: Floats, values: Floats, place: Ints, knots: Floats
) -> Floats:
    """ICI, E50, E90, Emax of a resample, shape (4,); NaN where it is of one class."""
    cases = np.bincount(place, weights=weights, minlength=values.size).astype(np.float64)
    events = np.bincount(place, weights=weights * labels, minlength=values.size)
    if events.sum() in (0, weights.sum()):
        return np.full(4, np.nan)
    # Beyond the cases drawn the polynomial would run away: the outermost of them stands for the knots outside.
    drawn = np.flatnonzero(cases)
    within = np.clip(knots, values[drawn[0]], values[drawn[-1]])
    curve = np.clip(loess_weights(values, cases, within) @ events, 0, 1)
    distance = np.abs(np.interp(scores, within, curve) - scores)
    mean = float(weights @ distance / weights.sum())
    repeated = np.repeat(distance, weights.astype(np.int64))
    return np.array([mean, *np.quantile(repeated, [0.5, 0.9]), repeated.max()])


def _distances_of_outcomes(
    outcomes: Floats, scores: Floats, values: Floats, place: Ints, knots: Floats
) -> Floats:
    """ICI, E50, E90, Emax of each row of outcomes, shape (rows, 4): the curve's weights are the same for all."""
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    events = np.add.reduceat(outcomes[:, order], starts, axis=1)
    smooth = loess_weights(values, np.bincount(place).astype(np.float64), knots)
    curves = np.clip(events @ smooth.T, 0, 1)
    distance = np.stack([np.abs(np.interp(scores, knots, curve) - scores) for curve in curves])
    return np.column_stack(
        [distance.mean(axis=1), *np.quantile(distance, [0.5, 0.9], axis=1), distance.max(axis=1)]
    )


def _within_patient_products(
    weights: Floats, place: Ints, residuals: Floats, patients: Ints
) -> Floats:
    """Sum of the products of weighted residuals over every two cases of a patient, for each point of the curve."""
    several = np.flatnonzero(np.bincount(patients)[patients] > 1)
    place, residuals, patients = place[several], residuals[several], patients[several]
    products = np.empty(len(weights))
    for point, of_values in enumerate(weights):
        parts = of_values[place] * residuals
        products[point] = (np.bincount(patients, weights=parts) ** 2).sum() - (parts**2).sum()
    return products


def _bins(
    labels: Bools, scores: Floats, bins: int, level: float, patients: Ints | None
) -> tuple[CalibrationBin, ...]:
    bin_of_case = equal_width_bins(scores, bins)
    rows = []
    for k in np.unique(bin_of_case):
        inside = bin_of_case == k
        n, events = int(inside.sum()), int(labels[inside].sum())
        share = clustered_proportion(
            labels[inside], None if patients is None else patients[inside], level=level
        )
        assert share.low is not None
        assert share.high is not None
        mean, left, right = float(scores[inside].mean()), float(k / bins), float((k + 1) / bins)
        rows.append(CalibrationBin(left, right, n, events, mean, events / n, share.low, share.high))
    return tuple(rows)
