"""ROC curve: points, bootstrap band, and thresholds (Youden index, sensitivity to reach)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.bootstrap import expanded_tails
from ctbone.stats.fewest import FEWEST_CASES
from ctbone.stats.inputs import ONE_CLASS, Bools, Floats, checked_pair, percent
from ctbone.stats.placements import class_counts
from ctbone.stats.proportions import wilson_limits
from ctbone.stats.resampling import bootstrap_weights, patient_strata


@dataclass(frozen=True)
class RocPoints:
    """Points of the ROC curve from (0, 0) to (1, 1), one for each distinct score.

    Parameters
    ----------
    fpr, tpr
        1 − specificity and sensitivity, shape (points,); empty if only one class is present.
    thresholds
        Decreasing, shape (points,), the first infinite; a case is positive if its score is ≥ the
        threshold.
    why
        Why the curve is undefined; None if it is defined.
    """

    fpr: Floats
    tpr: Floats
    thresholds: Floats
    why: str | None = None


@dataclass(frozen=True)
class RocBand:
    """Sensitivity over a grid of false-positive rates, with a pointwise band.

    Parameters
    ----------
    fpr
        Grid, shape (points,), 0–1.
    tpr, low, high
        Sensitivity of the curve and its band at each grid point, shape (points,); NaN where
        undefined.
    method
        How the band was computed.
    why
        Why it is undefined; None if it is defined.
    """

    fpr: Floats
    tpr: Floats
    low: Floats
    high: Floats
    method: str
    why: str | None = None


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold with its sensitivity and specificity on the cases that it was chosen on.

    Parameters
    ----------
    threshold
        A case is positive if its score is ≥ this; None if undefined.
    sensitivity, specificity
        On the cases that it was chosen on, hence optimistic; compute intervals on other cases.
    method
        How it was chosen.
    why
        Why it is undefined; None if it is defined.
    """

    threshold: float | None
    sensitivity: float | None
    specificity: float | None
    method: str
    why: str | None = None


def roc_points(y: ArrayLike, p: ArrayLike) -> RocPoints:
    """Empirical ROC curve; equal scores share one point, so that ties give a straight segment.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,).

    Returns
    -------
    RocPoints

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    Fawcett, Pattern Recognit Lett 2006;27:861.

    Examples
    --------
    >>> curve = roc_points([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> curve.fpr, curve.tpr
    (array([0. , 0. , 0.5, 0.5, 1. ]), array([0. , 0.5, 0.5, 1. , 1. ]))
    """
    labels, scores = checked_pair(y, p)
    if labels.all() or not labels.any():
        empty = np.empty(0)
        return RocPoints(fpr=empty, tpr=empty, thresholds=empty, why=ONE_CLASS)
    order, ends = _descending_order(scores)
    tp = np.cumsum(labels[order])[ends]
    fp = ends + 1 - tp
    return RocPoints(
        fpr=np.concatenate([[0.0], fp / (labels.size - labels.sum())]),
        tpr=np.concatenate([[0.0], tp / labels.sum()]),
        thresholds=np.concatenate([[np.inf], scores[order][ends]]),
    )


def roc_band(
    y: ArrayLike,
    p: ArrayLike,
    fpr: ArrayLike | None = None,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> RocBand:
    """Pointwise bootstrap band of the sensitivity at given false-positive rates (vertical band).

    Sensitivity is interpolated linearly between two points; on a vertical step it is the upper end.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,).
    fpr
        Grid of false-positive rates, 0–1; default 0, 0.01, … 1.
    replicates, seed, groups
        Options of the bootstrap, which is stratified by class; see `ctbone.stats.bootstrap_auc`.
    level
        Pointwise confidence level (percentiles).

    Returns
    -------
    RocBand
        No band (NaN) if fewer than five patients have positive cases, and at false-positive rates
        that stand for fewer than five patients, such as rates below 5 % with 100 negatives. The
        band is at least as wide as Wilson's interval of the sensitivity.

    Raises
    ------
    StatsError
        If labels, scores or groups differ in length, or the grid is not within 0–1.

    References
    ----------
    Fawcett, Pattern Recognit Lett 2006;27:861 (vertical averaging). Robin et al., BMC
    Bioinformatics 2011;12:77. Hesterberg, Am Stat 2015;69:371 (expanded percentiles).

    Examples
    --------
    >>> band = roc_band([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6], [0.0, 0.5, 1.0], replicates=200)
    >>> band.tpr.round(3)
    array([0.667, 1.   , 1.   ])
    """
    labels, scores = checked_pair(y, p)
    grid = np.arange(101) / 100 if fpr is None else np.asarray(fpr, dtype=np.float64)
    if grid.ndim != 1 or not ((grid >= 0) & (grid <= 1)).all():
        raise StatsError(
            "false-positive rates are not within 0–1",
            found=grid,
            expected="a grid such as 0, 0.1, … 1",
        )
    unit = "cases" if groups is None else "patients"
    method = (
        f"pointwise bootstrap of {unit}, stratified, expanded percentile {percent(level)}, "
        f"{replicates} resamples, at least Wilson's interval"
    )
    if labels.all() or not labels.any():
        nothing = np.full(grid.shape, np.nan)
        return RocBand(
            fpr=grid, tpr=nothing, low=nothing, high=nothing, method=method, why=ONE_CLASS
        )
    order, ends = _descending_order(scores)
    value = _sensitivity_at(grid, np.ones((1, labels.size)), labels=labels, order=order, ends=ends)[
        0
    ]
    pieces = bootstrap_weights(labels, replicates=replicates, seed=seed, groups=groups)
    draws = np.concatenate(
        [
            _sensitivity_at(grid, weights, labels=labels, order=order, ends=ends)
            for weights in pieces
        ]
    )
    positives, negatives = class_counts(labels, patient_strata(labels, groups, True)[0])
    low = high = np.full(grid.shape, np.nan)
    if positives < FEWEST_CASES:
        why = f"fewer than {FEWEST_CASES} {unit} of the positive class: no band"
        return RocBand(fpr=grid, tpr=value, low=low, high=high, method=method, why=why)
    # At a given false-positive rate, a sensitivity is at least as uncertain as that of as many
    # independent positives. Resamples alone do not vary where the curve is 1.
    least = np.array([wilson_limits(share * positives, positives, level) for share in value])
    tails = expanded_tails(level, min(positives, negatives))
    low, high = np.quantile(draws, tails, axis=0)
    low, high = np.minimum(low, least[:, 0]), np.maximum(high, least[:, 1])
    enough = (grid * negatives >= FEWEST_CASES) & (grid < 1)
    low, high = np.where(enough, low, np.nan), np.where(enough, high, np.nan)
    if not enough.all():
        method += f", none where the rate stands for fewer than {FEWEST_CASES} {unit}, or at 1"
    return RocBand(fpr=grid, tpr=value, low=low, high=high, method=method)


def youden_threshold(y: ArrayLike, p: ArrayLike) -> OperatingPoint:
    """Threshold of the highest Youden index, sensitivity + specificity − 1; of several the lowest.

    Choose it on validation cases, never on the cases that it is evaluated on.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,).

    Returns
    -------
    OperatingPoint

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length.

    References
    ----------
    Youden, Cancer 1950;3:32.

    Examples
    --------
    >>> youden_threshold([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).threshold
    0.35
    """
    method = "highest Youden index"
    labels, scores = checked_pair(y, p)
    if labels.all() or not labels.any():
        return OperatingPoint(
            threshold=None, sensitivity=None, specificity=None, method=method, why=ONE_CLASS
        )
    order, ends = _descending_order(scores)
    tp = np.cumsum(labels[order])[ends]
    fp = ends + 1 - tp
    positives = int(labels.sum())
    negatives = labels.size - positives
    # Youden index times positives times negatives: integers, so that equal indices compare equal.
    index = tp * negatives - fp * positives
    best = index.size - 1 - int(np.argmax(index[::-1]))
    return OperatingPoint(
        threshold=float(scores[order][ends][best]),
        sensitivity=float(tp[best] / positives),
        specificity=float(1 - fp[best] / negatives),
        method=method,
    )


def threshold_at_sensitivity(y: ArrayLike, p: ArrayLike, target: float) -> OperatingPoint:
    """Highest threshold whose sensitivity is at least the target.

    Choose it on validation cases, never on the cases that it is evaluated on.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,).
    target
        Sensitivity to reach, above 0 and up to 1.

    Returns
    -------
    OperatingPoint
        The specificity is None if there is no negative case.

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length, or the target is outside 0–1.

    References
    ----------
    Pepe, The Statistical Evaluation of Medical Tests 2003.

    Examples
    --------
    >>> threshold_at_sensitivity([0, 0, 1, 1, 1, 1], [0.1, 0.4, 0.3, 0.5, 0.6, 0.8], 0.75).threshold
    0.5
    """
    labels, scores = checked_pair(y, p)
    if not 0 < target <= 1:
        raise StatsError(
            "the sensitivity to reach is not above 0 and at most 1",
            found=target,
            expected="such as 0.95",
        )
    method = f"highest threshold with sensitivity ≥ {target:g}"
    positive = np.sort(scores[labels])[::-1]
    if positive.size == 0:
        return OperatingPoint(
            threshold=None,
            sensitivity=None,
            specificity=None,
            method=method,
            why="there is no positive case",
        )
    # 1e-9: products such as 0.95 · 20 may round to slightly more than the integer 19.
    needed = max(1, math.ceil(target * positive.size - 1e-9))
    threshold = float(positive[needed - 1])
    negatives = labels.size - positive.size
    specificity = float((scores[~labels] < threshold).mean()) if negatives else None
    why = None if negatives else "there is no negative case"
    return OperatingPoint(
        threshold=threshold,
        sensitivity=float((positive >= threshold).mean()),
        specificity=specificity,
        method=method,
        why=why,
    )


def _descending_order(scores: Floats) -> tuple[np.ndarray, np.ndarray]:
    """Order of decreasing scores and, in it, the last position of each distinct score."""
    order = np.argsort(-scores, kind="stable")
    ends = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)
    return order, ends


def _sensitivity_at(
    grid: Floats, weights: Floats, labels: Bools, order: np.ndarray, ends: np.ndarray
) -> Floats:
    """Sensitivity of each resample at each false-positive rate, shape (replicates, points)."""
    sorted_weights = weights[:, order]
    tp = np.cumsum(sorted_weights * labels[order], axis=1)[:, ends]
    fp = np.cumsum(sorted_weights * ~labels[order], axis=1)[:, ends]
    start = np.zeros(1)
    rows = [
        # At equal false-positive rates np.interp uses the last point, the top of a vertical step.
        np.interp(
            grid,
            np.concatenate([start, false / false[-1]]),
            np.concatenate([start, true / true[-1]]),
        )
        for true, false in zip(tp, fp, strict=True)
    ]
    return np.array(rows)
