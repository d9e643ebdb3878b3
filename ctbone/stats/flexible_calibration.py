"""Flexible (loess) calibration curve, and the calibration errors ICI, E50, E90 and Emax."""

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
from ctbone.stats.fewest import too_few_events
from ctbone.stats.inputs import Bools, Floats, Ints, checked_pair, percent
from ctbone.stats.loess import loess_weights
from ctbone.stats.resampling import bootstrap_weights

_KNOTS = 60  # largest number of points at which the curve is fitted; linear in between
_VALUES = 2000  # largest number of distinct probabilities; neighbours are merged if there are more
_CURVE = "loess of the outcome on the probability, span 0.75, degree 2, cut at 0 and 1"


@dataclass(frozen=True)
class CalibrationBin:
    """Cases of one bin of probability.

    Parameters
    ----------
    left, right
        Edges of the bin (left, right]; the first bin includes 0.
    n, events
        Number of cases and of positive cases.
    mean_probability
        Mean predicted probability, 0–1.
    observed, low, high
        Share of positive cases and its Wilson interval, 0–1; NaN if there are too few cases for
        one, see `ctbone.stats.proportion`.
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
        Smoothed share of positive cases and its pointwise band, shape (points,); empty if
        undefined.
    bins
        Equal-width bins with at least one case.
    histogram_edges
        Edges of the histogram, shape (bars + 1,).
    histogram_positive, histogram_negative
        Positive and negative cases in each bar, shape (bars,).
    method
        How the curve and its band were computed.
    why
        Why the curve is undefined; None if it is defined.
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
    """Absolute differences between the predicted probabilities and the flexible curve.

    Parameters
    ----------
    ici
        Integrated calibration index: mean difference over the cases.
    e50, e90, emax
        Median, 90th percentile and maximum of the difference.
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
    """Flexible calibration curve with its band, binned points and a histogram.

    The curve is a weighted sum of the outcomes, each with the variance c (1 − c) at the curve c.
    With several cases per patient, the products of the weighted residuals of all pairs of cases of
    a patient are added to the variance, as in the sandwich estimator, unless this makes the band
    narrower. The band is pointwise Wilson's interval for the number of independent cases of which a
    share would have that variance; it has a width where the curve is 0 or 1.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    points
        Number of grid points, from the lowest to the highest probability.
    bins
        Number of equal-width bins, right-closed.
    histogram_bins
        Number of bars of the histogram over 0–1, right-closed.
    level
        Pointwise confidence level of the band and of the bins' intervals (Wilson).
    groups
        Patient of each case, shape (n,), numbers or strings; band and intervals are then by
        patient. Default: one case per patient.

    Returns
    -------
    CalibrationCurve
        The curve is undefined if a class has fewer than 100 cases (patients, if they have
        several); bins and histogram are still given.

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    Austin & Steyerberg, Stat Med 2014;33:517 (loess). Van Calster et al., J Clin Epidemiol
    2016;74:167. Vergouwe et al., J Clin Epidemiol 2005;58:475 (100 events and non-events). Liang &
    Zeger, Biometrika 1986;73:13 (band by patient). Korn & Graubard, Surv Methodol 1998;24:193
    (effective number of cases). Rao & Scott, Biometrics 1992;48:577 (bins by patient).

    Examples
    --------
    >>> p = np.arange(1, 400) / 400
    >>> curve = calibration_curve(np.arange(399) % 10 < 10 * p, p, points=3)
    >>> curve.grid, curve.bins[0].observed
    (array([0.0025, 0.5   , 0.9975]), 0.1)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
    method = f"{_CURVE}, pointwise Wilson band {percent(level)}"
    if patients is not None:
        method += ", band and bins by patient"
    edges = np.arange(histogram_bins + 1) / histogram_bins
    bar = equal_width_bins(scores, histogram_bins)
    grid = observed = low = high = np.empty(0)
    why = too_few_events(labels, patients)
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
        residuals = labels - np.interp(values, grid, observed)[place]
        low, high = _band(
            observed,
            weights=weights,
            place=place,
            residuals=residuals,
            patients=patients,
            level=level,
        )
    return CalibrationCurve(
        grid=grid,
        observed=observed,
        low=low,
        high=high,
        bins=_bins(labels, scores, bins, level=level, patients=patients),
        histogram_edges=edges,
        histogram_positive=np.bincount(bar[labels], minlength=histogram_bins),
        histogram_negative=np.bincount(bar[~labels], minlength=histogram_bins),
        method=method,
        why=why,
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
    """ICI, E50, E90 and Emax: differences between the probabilities and the flexible curve.

    The curve is a loess (not lowess) fit at every distinct probability, or at up to 60 of their
    quantiles with linear interpolation if there are more than 60. Above 2000 distinct
    probabilities, neighbours are merged.

    Intervals are those of the basic bootstrap (percentiles mirrored at the value), clipped to 0–1
    and widened to contain the value: resampling makes the curve rougher, so that percentile
    intervals would lie above the value. Even the curve of a perfectly calibrated model deviates
    from the diagonal by chance. Therefore the errors are also computed for outcomes drawn from the
    probabilities (consistency resampling). If an error is not above the (1 + level) / 2 quantile of
    these draws, its interval starts at 0 and extends at least to that quantile. With several cases
    per patient, one random number is drawn for all cases of a patient, the strongest dependence
    possible.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    level, replicates, seed, groups
        Options of the bootstrap, which is not stratified, because the share of positive cases is
        uncertain too. Resamples of one class are left out. 0 replicates for no interval.

    Returns
    -------
    CalibrationErrors
        Each 0 (best) to 1; undefined if a class has fewer than 100 cases (patients, if they have
        several).

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    Austin & Steyerberg, Stat Med 2019;38:4051. Bröcker & Smith, Weather and Forecasting 2007;22:651
    (outcomes drawn from the probabilities). Vergouwe et al., J Clin Epidemiol 2005;58:475 (100
    events and non-events).

    Examples
    --------
    >>> p = np.arange(1, 400) / 400
    >>> errors = calibration_errors(np.arange(399) % 10 < 10 * p, p, replicates=20)
    >>> round(errors.ici.value, 3), errors.ici.value <= errors.emax.value
    (0.049, True)
    """
    labels, scores = checked_pair(y, p, probability=True)
    method = f"{_CURVE}; "
    too_few = too_few_events(labels, patient_numbers(groups, labels.size))
    if too_few is not None:
        nothing = Estimate.undefined(method + "no interval", too_few)
        return CalibrationErrors(ici=nothing, e50=nothing, e90=nothing, emax=nothing)
    values, place = _distinct(scores)
    knots = values
    if values.size > _KNOTS:
        knots = np.unique(np.quantile(values, np.linspace(0, 1, _KNOTS)))
    support = _Support(scores=scores, values=values, place=place, knots=knots)
    found = _distances(np.ones(labels.size), labels, support)
    if not replicates:
        return CalibrationErrors(
            *(
                Estimate.without_interval(
                    float(value), method + "no interval", "no resamples were requested"
                )
                for value in found
            )
        )
    unit = "cases" if groups is None else "patients"
    method += f"bootstrap of {unit}, basic {percent(level)}, {replicates} resamples; "
    method += chance_quantile_method(level)
    resamples = bootstrap_weights(
        labels, replicates=replicates, seed=seed, groups=groups, stratified=False
    )
    draws = np.array([_distances(row, labels, support) for weights in resamples for row in weights])
    patients = patient_numbers(groups, labels.size)
    outcomes = consistency_resamples(scores, patients, replicates=replicates, seed=seed)
    chance = np.concatenate([_distances_of_outcomes(piece, support) for piece in outcomes])
    return CalibrationErrors(
        *(
            _error(value, draws=drawn, chance=by_chance, level=level, method=method)
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
    """Integrated calibration index (ICI) alone; see `calibration_errors`.

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
        0 (best) to 1; undefined if a class has fewer than 100 cases.

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    Austin & Steyerberg, Stat Med 2019;38:4051.

    Examples
    --------
    >>> print(ici([0, 0, 1, 0, 1, 1], [0.1, 0.2, 0.3, 0.6, 0.7, 0.9]))
    undefined (only 3 cases of a class: at least 100 of each are needed)
    """
    return calibration_errors(
        y, p, level=level, replicates=replicates, seed=seed, groups=groups
    ).ici


@dataclass(frozen=True)
class _Support:
    """Probabilities and the points at which the curve is fitted.

    Parameters
    ----------
    scores
        Probability of each case, shape (n,).
    values
        Distinct probabilities, ascending, shape (values,).
    place
        Index of each case's probability among ``values``, shape (n,).
    knots
        Points at which the curve is fitted, ascending, shape (knots,).
    """

    scores: Floats
    values: Floats
    place: Ints
    knots: Floats


def _distinct(scores: Floats) -> tuple[Floats, Ints]:
    """Distinct probabilities, ascending, and each case's index; merged if more than 2000."""
    values, place = np.unique(scores, return_inverse=True)
    if values.size <= _VALUES:
        return values, place
    group = (np.arange(values.size) * _VALUES // values.size)[place]
    return np.bincount(group, weights=scores) / np.bincount(group), group


def _error(value: float, *, draws: Floats, chance: Floats, level: float, method: str) -> Estimate:
    """Estimate of an error with its interval from resamples and from consistency resamples."""
    finite, why = defined_draws(draws)
    if finite.size < draws.size:
        method += f"; {draws.size - finite.size} resamples of one class left out"
    if why is not None:
        return Estimate.without_interval(value, method, why)
    bottom, top = np.quantile(finite, [(1 - level) / 2, (1 + level) / 2]).tolist()
    limits = unit_limits(value, 2 * value - top, 2 * value - bottom)
    return Estimate(value, *widen_to_chance_quantile(value, *limits, chance, level), method)


def _distances(weights: Floats, labels: Bools, support: _Support) -> Floats:
    """ICI, E50, E90 and Emax of a resample, shape (4,); NaN if it is of one class."""
    values, place = support.values, support.place
    cases = np.bincount(place, weights=weights, minlength=values.size).astype(np.float64)
    events = np.bincount(place, weights=weights * labels, minlength=values.size)
    if events.sum() in (0, weights.sum()):
        return np.full(4, np.nan)
    # Outside the range of the drawn cases the polynomial extrapolates wildly: clip the knots to it.
    drawn = np.flatnonzero(cases)
    within = np.clip(support.knots, values[drawn[0]], values[drawn[-1]])
    curve = np.clip(loess_weights(values, cases, within) @ events, 0, 1)
    distance = np.abs(np.interp(support.scores, within, curve) - support.scores)
    mean = float(weights @ distance / weights.sum())
    repeated = np.repeat(distance, weights.astype(np.int64))
    return np.array([mean, *np.quantile(repeated, [0.5, 0.9]), repeated.max()])


def _distances_of_outcomes(outcomes: Floats, support: _Support) -> Floats:
    """ICI, E50, E90 and Emax of each row of outcomes, shape (rows, 4).

    The loess weights do not depend on the outcomes, so that they are computed once.
    """
    scores, place, knots = support.scores, support.place, support.knots
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    events = np.add.reduceat(outcomes[:, order], starts, axis=1)
    smooth = loess_weights(support.values, np.bincount(place).astype(np.float64), knots)
    curves = np.clip(events @ smooth.T, 0, 1)
    distance = np.stack([np.abs(np.interp(scores, knots, curve) - scores) for curve in curves])
    return np.column_stack(
        [distance.mean(axis=1), *np.quantile(distance, [0.5, 0.9], axis=1), distance.max(axis=1)]
    )


def _band(
    curve: Floats,
    *,
    weights: Floats,
    place: Ints,
    residuals: Floats,
    patients: Ints | None,
    level: float,
) -> tuple[Floats, Floats]:
    """Wilson's limits at each point for the effective number of cases, shape (points,) each."""
    cases = np.bincount(place).astype(np.float64)
    z = two_sided_z(level)
    # Variance of the curve if the residuals of all cases are independent, and what those of the
    # other cases of the same patients add to it, as a factor.
    independent = weights**2 @ np.bincount(place, weights=residuals**2)
    factor = np.ones(curve.size)
    if patients is not None:
        added = _within_patient_products(weights, place, residuals=residuals, patients=patients)
        factor += np.maximum(0, added) / np.maximum(independent, 1e-300)
    effective = 1 / (weights**2 @ cases * factor)
    centre = (curve + z**2 / (2 * effective)) / (1 + z**2 / effective)
    half = z * np.sqrt(curve * (1 - curve) / effective + z**2 / (4 * effective**2))
    half /= 1 + z**2 / effective
    return np.maximum(0, centre - half), np.minimum(1, centre + half)


def _within_patient_products(
    weights: Floats, place: Ints, residuals: Floats, patients: Ints
) -> Floats:
    """Sum over all pairs of cases of a patient: products of weighted residuals, shape (points,)."""
    several = np.flatnonzero(np.bincount(patients)[patients] > 1)
    place, residuals, patients = place[several], residuals[several], patients[several]
    products = np.empty(len(weights))
    for point, of_values in enumerate(weights):
        parts = of_values[place] * residuals
        products[point] = (np.bincount(patients, weights=parts) ** 2).sum() - (parts**2).sum()
    return products


def _bins(
    labels: Bools, scores: Floats, bins: int, *, level: float, patients: Ints | None
) -> tuple[CalibrationBin, ...]:
    """Equal-width bins with at least one case, with intervals by patient if there are patients."""
    bin_of_case = equal_width_bins(scores, bins)
    rows = []
    for k in np.unique(bin_of_case):
        inside = bin_of_case == k
        n, events = int(inside.sum()), int(labels[inside].sum())
        share = clustered_proportion(
            labels[inside], None if patients is None else patients[inside], level=level
        )
        rows.append(
            CalibrationBin(
                left=float(k / bins),
                right=float((k + 1) / bins),
                n=n,
                events=events,
                mean_probability=float(scores[inside].mean()),
                observed=events / n,
                low=np.nan if share.low is None else share.low,
                high=np.nan if share.high is None else share.high,
            )
        )
    return tuple(rows)
