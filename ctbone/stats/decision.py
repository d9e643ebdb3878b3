"""Decision curves: net benefit of a model, of treating all cases and of treating none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.bootstrap import expanded_tails, resampled_units
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
from ctbone.stats.placements import class_counts
from ctbone.stats.resampling import bootstrap_weights

# Fewest patients, of both classes, at or above a threshold for a band there. With fewer, 95 % bands
# covered the true net benefit in only 40 to 85 % of simulated samples.
_FEWEST_PATIENTS = 5


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit over threshold probabilities.

    Parameters
    ----------
    thresholds
        Threshold probabilities t, shape (points,), 0–1; a case is treated if p ≥ t.
    net_benefit
        Net benefit per case, shape (points,); NaN where undefined (t = 1).
    low, high
        Pointwise bootstrap band, shape (points,); NaN if none was requested. Also NaN at thresholds
        that fewer than five patients, or cases of one class only, reach, and everywhere if a class
        has fewer than five patients: resamples hardly vary there, and the band would be too narrow.
    standardized_net_benefit
        Net benefit divided by the prevalence, at most 1; NaN if the prevalence is 0.
    interventions_avoided
        Interventions avoided per 100 cases, compared with treating all, at an equal number of true
        positives; NaN at t = 0.
    prevalence
        Prevalence that the net benefit refers to, 0–1.
    method
        How the curve was computed.
    why
        Why a part is undefined; None if everything is defined.
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
    """Return 0.01, 0.02, …, 0.99, each the float nearest to the decimal.

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
    """Net benefit of treating the cases whose probability reaches the threshold.

    Net benefit = sensitivity · π − (1 − specificity) · (1 − π) · t / (1 − t), where π is the
    prevalence. The rule p ≥ t also holds at t = 0, where every case is treated. (The dcurves
    packages shift probabilities of exactly 0 slightly below 0, so that such cases are not treated
    at t = 0.)

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    thresholds
        Threshold probabilities, 0–1; default 0.01, 0.02, …, 0.99.
    prevalence
        Prevalence in the target population, 0–1, for case-control data; default: that of the cases.
    replicates
        Resamples of the bootstrap band; 0 for no band. Resamples are stratified by class if a
        prevalence is given; otherwise they are not, and the band includes the uncertainty of the
        prevalence. There is no band (NaN) at thresholds that fewer than five patients, or cases of
        one class only, reach; with a given prevalence the same applies to the patients below the
        threshold.
    level
        Pointwise confidence level (percentiles).
    seed, groups
        Options of the bootstrap; see `ctbone.stats.bootstrap_auc`.

    Returns
    -------
    DecisionCurve

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability, threshold or
        prevalence is outside 0–1.

    References
    ----------
    Vickers & Elkin, Med Decis Making 2006;26:565. Kerr et al., J Clin Oncol 2016;34:2534
    (standardised).

    Examples
    --------
    >>> curve = decision_curve([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8], [0.2, 0.5])
    >>> curve.net_benefit, curve.interventions_avoided
    (array([0.4375, 0.25  ]), array([25., 25.]))
    """
    labels, scores = checked_pair(y, p, probability=True)
    grid = _checked_thresholds(thresholds)
    share = _checked_prevalence(labels, prevalence)
    distinct = np.unique(grid)
    decisions = _Decisions(
        labels=labels,
        reached=np.searchsorted(distinct, scores, side="right"),
        grid=grid,
        column=np.searchsorted(distinct, grid),
        prevalence=prevalence,
    )
    values = _net_benefit(np.ones((1, labels.size)), decisions)[0]
    low = high = np.full(grid.shape, np.nan)
    method = "net benefit, treated if p ≥ t" + (
        "" if prevalence is None else f", prevalence set to {prevalence:g}"
    )
    if replicates:
        low, high = _band(decisions, replicates=replicates, level=level, seed=seed, groups=groups)
        unit = "cases" if groups is None else "patients"
        strata = "" if prevalence is None else ", stratified by class"
        method += (
            f", band: bootstrap of {unit}, expanded percentile {percent(level)}, "
            f"{replicates} resamples{strata}"
        )
        defined = _band_defined(decisions, patient_numbers(groups, labels.size))
        low, high = np.where(defined, low, np.nan), np.where(defined, high, np.nan)
        if not defined.all():
            sides = (
                "reach the threshold"
                if prevalence is None
                else "reach, or stay below, the threshold"
            )
            method += (
                f", none where fewer than {_FEWEST_PATIENTS} {unit}, or one class only, {sides}, "
                f"or with fewer of a class"
            )
    return _curve(
        grid=grid,
        values=values,
        low=low,
        high=high,
        share=share,
        of_all=_all_benefit(grid, share),
        method=method,
        labels=labels,
        prevalence=prevalence,
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
        No band.

    Raises
    ------
    StatsError
        If labels are missing, or a threshold or the prevalence is outside 0–1.

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
        grid=grid,
        values=values,
        low=nothing,
        high=nothing,
        share=share,
        of_all=values,
        method="net benefit, all treated",
        labels=None,
        prevalence=prevalence,
    )


def treat_none(
    y: ArrayLike, thresholds: ArrayLike | None = None, *, prevalence: float | None = None
) -> DecisionCurve:
    """Net benefit of treating no case: 0 at every threshold.

    Parameters
    ----------
    y, thresholds, prevalence
        As for `decision_curve`.

    Returns
    -------
    DecisionCurve
        No band.

    Raises
    ------
    StatsError
        If labels are missing, or a threshold or the prevalence is outside 0–1.

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
        grid=grid,
        values=values,
        low=nothing,
        high=nothing,
        share=share,
        of_all=_all_benefit(grid, share),
        method="net benefit, none treated",
        labels=None,
        prevalence=prevalence,
    )


@dataclass(frozen=True)
class _Decisions:
    """Cases and the thresholds that their probabilities reach.

    Parameters
    ----------
    labels
        True for the positive class, shape (n,).
    reached
        Number of distinct thresholds that each case's probability reaches, shape (n,).
    grid
        Threshold probabilities as given, shape (points,).
    column
        Index of each threshold among the distinct ones, ascending, shape (points,).
    prevalence
        Prevalence in the target population; None for that of the cases.
    """

    labels: Bools
    reached: Ints
    grid: Floats
    column: Ints
    prevalence: float | None


def _curve(
    *,
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
    """Build the curve: standardised net benefit, avoided interventions, reasons for NaN."""
    reasons = []
    if labels is not None and prevalence is not None and (labels.all() or not labels.any()):
        reasons.append(f"{ONE_CLASS}: no net benefit at another prevalence")
    if share == 0:
        reasons.append("the prevalence is 0: no standardised net benefit")
    if (grid == 1).any():
        reasons.append("at threshold 1 a false positive has infinite weight")
    if (grid == 0).any():
        reasons.append("at threshold 0 avoided interventions are undefined")
    with np.errstate(divide="ignore", invalid="ignore"):
        standardized = values / share if share > 0 else np.full(grid.shape, np.nan)
        # Vickers & Elkin: (gain over treating all) / (odds of t), per 100 cases.
        avoided = 100 * (values - of_all) * (1 - grid) / np.where(grid > 0, grid, np.nan)
    return DecisionCurve(
        thresholds=grid,
        net_benefit=values,
        low=low,
        high=high,
        standardized_net_benefit=standardized,
        interventions_avoided=avoided,
        prevalence=share,
        method=method,
        why="; ".join(reasons) or None,
    )


def _all_benefit(grid: Floats, share: float) -> Floats:
    """Net benefit of treating all: π − (1 − π) · t / (1 − t)."""
    return np.asarray(share - (1 - share) * _odds(grid), dtype=np.float64)


def _odds(grid: Floats) -> Floats:
    """Odds t / (1 − t) of the threshold, the weight of a false positive; NaN at t = 1."""
    return np.asarray(grid / np.where(grid < 1, 1 - grid, np.nan), dtype=np.float64)


def _net_benefit(weights: Floats, decisions: _Decisions) -> Floats:
    """Net benefit of each resample at each threshold, shape (replicates, points)."""
    labels, column, prevalence = decisions.labels, decisions.column, decisions.prevalence
    tp = _at_or_above(weights, np.flatnonzero(labels), decisions)[:, column]
    fp = _at_or_above(weights, np.flatnonzero(~labels), decisions)[:, column]
    odds = _odds(decisions.grid)
    if prevalence is None:
        total = weights.sum(axis=1, keepdims=True)
        return np.asarray((tp - fp * odds) / total, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        tpr = tp / weights[:, labels].sum(axis=1, keepdims=True)
        fpr = fp / weights[:, ~labels].sum(axis=1, keepdims=True)
    return np.asarray(tpr * prevalence - fpr * (1 - prevalence) * odds, dtype=np.float64)


def _at_or_above(weights: Floats, chosen: Ints, decisions: _Decisions) -> Floats:
    """Weight of the chosen cases at or above each distinct threshold, (replicates, thresholds)."""
    reached, thresholds = decisions.reached, int(decisions.column.max()) + 1
    sums = np.zeros((len(weights), thresholds + 1))
    if chosen.size:
        ordered = chosen[np.argsort(reached[chosen], kind="stable")]
        steps, starts = np.unique(reached[ordered], return_index=True)
        sums[:, steps] = np.add.reduceat(weights[:, ordered], starts, axis=1)
    return np.cumsum(sums[:, :0:-1], axis=1)[:, ::-1]


def _band(
    decisions: _Decisions,
    *,
    replicates: int,
    level: float,
    seed: int,
    groups: ArrayLike | None,
) -> tuple[Floats, Floats]:
    """Pointwise percentiles of the net benefit in the resamples, each of shape (points,)."""
    pieces = bootstrap_weights(
        decisions.labels,
        replicates=replicates,
        seed=seed,
        groups=groups,
        stratified=decisions.prevalence is not None,
    )
    draws = np.concatenate([_net_benefit(weights, decisions) for weights in pieces])
    units = resampled_units(decisions.labels, groups, stratified=decisions.prevalence is not None)
    low, high = np.quantile(draws, expanded_tails(level, max(2, units)), axis=0)
    return low, high


def _band_defined(decisions: _Decisions, patients: Ints | None) -> Bools:
    """Whether enough patients, of both classes, reach each threshold for a band, shape (points,).

    With a given prevalence the same must hold for the patients below the threshold, because only
    sensitivity and specificity vary then.
    """
    labels, reached, column = decisions.labels, decisions.reached, decisions.column
    places = np.arange(int(column.max()) + 1)
    numbers = np.arange(labels.size) if patients is None else patients

    if min(class_counts(labels, numbers)) < _FEWEST_PATIENTS:
        return np.zeros(column.size, dtype=np.bool_)

    def enough(reaching: Ints) -> Bools:
        highest = np.full(int(numbers.max()) + 1, -1)
        np.maximum.at(highest, numbers, reaching)
        lowest_top = min(reaching[labels].max(initial=0), reaching[~labels].max(initial=0))
        count = highest.size - np.searchsorted(np.sort(highest), places, side="right")
        return np.asarray((count >= _FEWEST_PATIENTS) & (places < lowest_top), dtype=np.bool_)

    kept = enough(reached)
    if decisions.prevalence is not None:
        kept &= enough(places.size - reached)[::-1]
    return kept[column]


def _checked_thresholds(thresholds: ArrayLike | None) -> Floats:
    if thresholds is None:
        return default_thresholds()
    grid = np.asarray(thresholds, dtype=np.float64)
    if grid.ndim != 1 or grid.size == 0 or not ((grid >= 0) & (grid <= 1)).all():
        raise StatsError(
            "threshold probabilities are not within 0–1",
            found=grid,
            expected="a list such as 0.01, 0.02, …",
        )
    return grid


def _checked_prevalence(labels: Bools, prevalence: float | None) -> float:
    if prevalence is None:
        return float(labels.mean())
    if not 0 <= prevalence <= 1:
        raise StatsError(
            "the prevalence is not within 0–1", found=prevalence, expected="such as 0.2"
        )
    return float(prevalence)
