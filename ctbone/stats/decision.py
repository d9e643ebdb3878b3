"""Decision curves: net benefit of a model, of treating all and of treating none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.clusters import patient_numbers
from ctbone.stats.inputs import (
    ONE_CLASS,
    Bools,
    Floats,
    Ints,
    checked_labels,
    checked_pair,
    percent,
)
from ctbone.stats.resampling import bootstrap_weights

_FEWEST_PATIENTS = 5  # patients, some of either class, at or above a threshold: else bands hold the truth in 40 to 85 % only


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit over threshold probabilities.

    Parameters
    ----------
    thresholds
        Threshold probabilities t, shape (points,), 0–1; a case is treated if p ≥ t.
    net_benefit
        Per case, shape (points,); NaN where undefined (t = 1).
    low, high
        Pointwise bootstrap band, shape (points,); NaN where none was asked for, and where fewer than five patients
        reach the threshold or all that reach it are of one class: resamples hardly vary there, and their band would
        say that little is in doubt.
    standardized_net_benefit
        Net benefit over the prevalence, 1 at best; NaN where the prevalence is 0.
    interventions_avoided
        Per 100 cases, against treating all, at no loss of true positives; NaN at t = 0.
    prevalence
        The prevalence that the net benefit refers to.
    method
        How it was computed.
    why
        Why something is undefined; None where all is defined.
    """

    thresholds: Floats
    net_benefit: Floats
    low: Floats
    high: Floats
    standardized_net_benefit: Floats
    interventions_avoided: Floats
    prevalence: float
    method: str
    why: str | None = None


def default_thresholds() -> Floats:
    """0.01, 0.02 … 0.99, each the number nearest to the decimal.

    Returns
    -------
    numpy.ndarray of float64, shape (99,)

    Examples
    --------
    >>> default_thresholds()[[0, 28, 98]]
    array([0.01, 0.29, 0.99])
    """
    return np.arange(1, 100) / 100


def decision_curve(
    y: ArrayLike,
    p: ArrayLike,
    thresholds: ArrayLike | None = None,
    *,
    prevalence: float | None = None,
    replicates: int = 0,
    level: float = 0.95,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> DecisionCurve:
    """Net benefit of treating those whose probability reaches the threshold.

    Net benefit = sensitivity · π − (1 − specificity) · (1 − π) · t / (1 − t), π being the prevalence. The rule p ≥ t
    holds at t = 0 too, where every case is treated. (The dcurves packages move probabilities of exactly 0 a rounding
    error below it, so that such cases go untreated at t = 0.)

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    thresholds
        Threshold probabilities, 0–1; default 0.01, 0.02 … 0.99.
    prevalence
        Prevalence where the model will be used, 0–1, for case-control data; default: that of the cases.
    replicates
        Resamples of the bootstrap band; 0 for no band. With a given prevalence the resamples are stratified by class,
        else they are not, and the band holds the doubt about the prevalence too. There is no band (NaN) where fewer
        than five patients reach the threshold or these are of one class; with a given prevalence nor where that is so
        of those who stay below it.
    level
        Pointwise confidence level (percentiles).
    seed, groups
        Of the bootstrap; see `ctbone.stats.bootstrap_auc`.

    Returns
    -------
    DecisionCurve

    Raises
    ------
    StatsError
        If labels or probabilities are missing, do not fit together or leave 0–1, or thresholds or prevalence do.

    References
    ----------
    Vickers & Elkin, Med Decis Making 2006;26:565. Kerr et al., J Clin Oncol 2016;34:2534 (standardised).

    Examples
    --------
    >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [0.2, 0.5])
    >>> curve.net_benefit, curve.interventions_avoided
    (array([0.4375, 0.25  ]), array([25., 25.]))
    """
    labels, scores = checked_pair(y, p, probability=True)
    grid = _checked_thresholds(thresholds)
    share = _checked_prevalence(labels, prevalence)
    reached = np.searchsorted(np.unique(grid), scores, side="right")
    column = np.searchsorted(np.unique(grid), grid)
    values = _net_benefit(np.ones((1, labels.size)), labels, reached, grid, column, prevalence)[0]
    low = high = np.full(grid.shape, np.nan)
    method = "net benefit, treated if p ≥ t" + (
        "" if prevalence is None else f", prevalence set to {prevalence:g}"
    )
    if replicates:
        low, high = _band(
            labels, reached, grid, column, prevalence, replicates, level, seed, groups
        )
        unit = "cases" if groups is None else "patients"
        strata = "" if prevalence is None else ", stratified by class"
        method += f", band: bootstrap of {unit}, percentile {percent(level)}, {replicates} resamples{strata}"
        told = _band_defined(
            labels, reached, column, prevalence, patient_numbers(groups, labels.size)
        )
        low, high = np.where(told, low, np.nan), np.where(told, high, np.nan)
        if not told.all():
            sides = (
                "reach the threshold"
                if prevalence is None
                else "reach, or stay below, the threshold"
            )
            method += (
                f", none where fewer than {_FEWEST_PATIENTS} {unit}, or one class only, {sides}"
            )
    return _curve(
        grid, values, low, high, share, _all_benefit(grid, share), method, labels, prevalence
    )


def treat_all(
    y: ArrayLike, thresholds: ArrayLike | None = None, *, prevalence: float | None = None
) -> DecisionCurve:
    """Net benefit of treating every case.

    Parameters
    ----------
    y, thresholds, prevalence
        As for `decision_curve`.

    Returns
    -------
    DecisionCurve
        Without band.

    Raises
    ------
    StatsError
        If labels are missing, or thresholds or prevalence leave 0–1.

    References
    ----------
    Vickers & Elkin, Med Decis Making 2006;26:565.

    Examples
    --------
    >>> treat_all([0, 0, 0, 1], [0.25, 0.5]).net_benefit
    array([ 0. , -0.5])
    """
    labels = checked_labels(y)
    grid = _checked_thresholds(thresholds)
    share = _checked_prevalence(labels, prevalence)
    nothing = np.full(grid.shape, np.nan)
    values = _all_benefit(grid, share)
    return _curve(
        grid, values, nothing, nothing, share, values, "net benefit, all treated", None, prevalence
    )


def treat_none(
    y: ArrayLike, thresholds: ArrayLike | None = None, *, prevalence: float | None = None
) -> DecisionCurve:
    """Net benefit of treating no case, 0 throughout.

    Parameters
    ----------
    y, thresholds, prevalence
        As for `decision_curve`.

    Returns
    -------
    DecisionCurve
        Without band.

    Raises
    ------
    StatsError
        If labels are missing, or thresholds or prevalence leave 0–1.

    References
    ----------
    Vickers & Elkin, Med Decis Making 2006;26:565.

    Examples
    --------
    >>> treat_none([0, 0, 0, 1], [0.25, 0.5]).interventions_avoided
    array([ 0., 50.])
    """
    labels = checked_labels(y)
    grid = _checked_thresholds(thresholds)
    share = _checked_prevalence(labels, prevalence)
    nothing = np.full(grid.shape, np.nan)
    values = np.zeros(grid.shape)
    return _curve(
        grid,
        values,
        nothing,
        nothing,
        share,
        _all_benefit(grid, share),
        "net benefit, none treated",
        None,
        prevalence,
    )


def _curve(
    grid: Floats,
    values: Floats,
    low: Floats,
    high: Floats,
    share: float,
    of_all: Floats,
    method: str,
    labels: Bools | None,
    prevalence: float | None,
) -> DecisionCurve:
    reasons = []
    if labels is not None and prevalence is not None and (labels.all() or not labels.any()):
        reasons.append(f"{ONE_CLASS}: no net benefit at another prevalence")
    if share == 0:
        reasons.append("the prevalence is 0: no standardised net benefit")
    if (grid == 1).any():
        reasons.append("at threshold 1 a false positive weighs infinitely much")
    if (grid == 0).any():
        reasons.append("at threshold 0 interventions cannot be traded")
    with np.errstate(divide="ignore", invalid="ignore"):
        standardized = values / share if share > 0 else np.full(grid.shape, np.nan)
        avoided = 100 * (values - of_all) * (1 - grid) / np.where(grid > 0, grid, np.nan)
    return DecisionCurve(
        grid, values, low, high, standardized, avoided, share, method, "; ".join(reasons) or None
    )


def _all_benefit(grid: Floats, share: float) -> Floats:
    return np.asarray(share - (1 - share) * _odds(grid), dtype=np.float64)


def _odds(grid: Floats) -> Floats:
    return np.asarray(grid / np.where(grid < 1, 1 - grid, np.nan), dtype=np.float64)


def _net_benefit(
    weights: Floats,
    labels: Bools,
    reached: Ints,
    grid: Floats,
    column: Ints,
    prevalence: float | None,
) -> Floats:
    """Net benefit of each resample at each threshold, shape (replicates, points).

    ``reached`` is how many of the distinct thresholds a case's probability reaches, ``column`` the place of each
    threshold among the distinct ones.
    """
    tp = _at_or_above(weights, np.flatnonzero(labels), reached, int(column.max()) + 1)[:, column]
    fp = _at_or_above(weights, np.flatnonzero(~labels), reached, int(column.max()) + 1)[:, column]
    if prevalence is None:
        total = weights.sum(axis=1, keepdims=True)
        return np.asarray((tp - fp * _odds(grid)) / total, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        tpr = tp / weights[:, labels].sum(axis=1, keepdims=True)
        fpr = fp / weights[:, ~labels].sum(axis=1, keepdims=True)
    return np.asarray(tpr * prevalence - fpr * (1 - prevalence) * _odds(grid), dtype=np.float64)


def _at_or_above(weights: Floats, chosen: Ints, reached: Ints, thresholds: int) -> Floats:
    """Weight of the chosen cases that reach each of the distinct thresholds, shape (replicates, thresholds)."""
    sums = np.zeros((len(weights), thresholds + 1))
    if chosen.size:
        ordered = chosen[np.argsort(reached[chosen], kind="stable")]
        steps, starts = np.unique(reached[ordered], return_index=True)
        sums[:, steps] = np.add.reduceat(weights[:, ordered], starts, axis=1)
    return np.cumsum(sums[:, :0:-1], axis=1)[:, ::-1]


def _band(
    labels: Bools,
    reached: Ints,
    grid: Floats,
    column: Ints,
    prevalence: float | None,
    replicates: int,
    level: float,
    seed: int,
    groups: ArrayLike | None,
) -> tuple[Floats, Floats]:
    draws = np.concatenate(
        [
            _net_benefit(weights, labels, reached, grid, column, prevalence)
            for weights in bootstrap_weights(
                labels,
                replicates=replicates,
                seed=seed,
                groups=groups,
                stratified=prevalence is not None,
            )
        ]
    )
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _band_defined(
    labels: Bools, reached: Ints, column: Ints, prevalence: float | None, patients: Ints | None
) -> Bools:
    """Whether each threshold is reached by enough patients, and by both classes, for a band.

    With a given prevalence the same must hold for those that stay below it: nothing else varies then.
    """
    places = np.arange(int(column.max()) + 1)
    numbers = np.arange(labels.size) if patients is None else patients

    def told(reaching: Ints) -> Bools:
        highest = np.full(int(numbers.max()) + 1, -1)
        np.maximum.at(highest, numbers, reaching)
        lowest_top = min(reaching[labels].max(initial=0), reaching[~labels].max(initial=0))
        enough = (
            highest.size - np.searchsorted(np.sort(highest), places, side="right")
            >= _FEWEST_PATIENTS
        )
        return np.asarray(enough & (places < lowest_top), dtype=np.bool_)

    kept = told(reached)
    if prevalence is not None:
        kept &= told(places.size - reached)[::-1]
    return kept[column]


def _checked_thresholds(thresholds: ArrayLike | None) -> Floats:
    if thresholds is None:
        return default_thresholds()
    grid = np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not ((grid >= 0) & (grid <= 1)).all():
        raise StatsError(
            "threshold probabilities lie within 0–1",
            found=grid,
            expected="a list such as 0.01, 0.02, …",
        )
    return grid


def _checked_prevalence(labels: Bools, prevalence: float | None) -> float:
    if prevalence is None:
        return float(labels.mean())
    if not 0 <= prevalence <= 1:
        raise StatsError("a prevalence lies within 0–1", found=prevalence, expected="such as 0.2")
    return float(prevalence)
