"""Bootstrap by patient: resampling weights, the AUC of every resample at once, percentile and BCa intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.distributions import normal_cdf, normal_quantile
from ctbone.stats.estimate import Comparison, Estimate
from ctbone.stats.inputs import (
    ONE_CLASS,
    Bools,
    Floats,
    Ints,
    StatsError,
    checked_labels,
    checked_models,
    checked_pair,
    percent,
)

BootstrapInterval: TypeAlias = Literal["percentile", "bca", "basic"]
WeightedStatistic: TypeAlias = Callable[[Floats], Floats]

_CHUNK = 2_000_000  # weights held at once: 16 MB, however many cases there are


def bootstrap_auc(
    y: ArrayLike,
    p: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    interval: BootstrapInterval = "percentile",
    seed: int = 0,
    groups: ArrayLike | None = None,
    stratified: bool = True,
) -> Estimate:
    """AUC with a bootstrap interval over patients.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,).
    replicates
        Number of resamples.
    level
        Confidence level.
    interval
        ``"percentile"``, ``"bca"`` (bias-corrected and accelerated) or ``"basic"`` (percentiles mirrored at the value).
    seed
        Seed of the resampling; the same seed draws the same patients.
    groups
        Patient of each case, shape (n,); a patient is drawn with all its cases. Default: each case is a patient.
    stratified
        Draw as many patients of each class as there are.

    Returns
    -------
    Estimate
        0–1; undefined where only one class is present.

    Raises
    ------
    StatsError
        If labels, scores or groups do not fit together.

    References
    ----------
    Efron, J Am Stat Assoc 1987;82:171 (BCa). Field & Welsh, J R Stat Soc B 2007;69:369 (clusters).

    Examples
    --------
    >>> print(bootstrap_auc([0, 0, 0, 1, 1, 1], [1, 2, 4, 3, 5, 6]))
    0.8889 (0.5556 to 1.0000)
    """
    labels, scores = checked_pair(y, p)
    if labels.all() or not labels.any():
        return Estimate.undefined(_method(interval, level, replicates, groups, stratified), ONE_CLASS)
    return bootstrap_estimate(
        lambda weights: weighted_auc(weights, labels, scores),
        labels,
        replicates=replicates,
        level=level,
        interval=interval,
        seed=seed,
        groups=groups,
        stratified=stratified,
    )


def bootstrap_auc_difference(
    y: ArrayLike,
    p_a: ArrayLike,
    p_b: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    interval: BootstrapInterval = "percentile",
    seed: int = 0,
    groups: ArrayLike | None = None,
    stratified: bool = True,
) -> Comparison:
    """Difference of two AUCs on the same cases, the same patients drawn for both models.

    The p-value is twice the share of resamples on the far side of zero, counting the data itself as one of them
    (so it is never 0) and half of those exactly at zero. There is no test statistic.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p_a, p_b
        Scores of the two models, shape (n,).
    replicates, level, interval, seed, groups, stratified
        As in `bootstrap_auc`.

    Returns
    -------
    Comparison
        First minus second.

    Raises
    ------
    StatsError
        If labels, scores or groups do not fit together.

    References
    ----------
    Davison & Hinkley, Bootstrap Methods and their Application 1997, chapters 4 and 5.

    Examples
    --------
    >>> y = [0, 0, 0, 0, 1, 1, 1, 1]
    >>> bootstrap_auc_difference(y, [1, 2, 3, 6, 4, 5, 7, 8], [5, 2, 8, 1, 4, 6, 7, 3]).difference
    0.25
    """
    labels, scores = checked_models(y, [np.asarray(p_a), np.asarray(p_b)])
    method = _method(interval, level, replicates, groups, stratified) + ", paired"
    if labels.all() or not labels.any():
        return Comparison.undefined(method, ONE_CLASS)

    def difference(weights: Floats) -> Floats:
        return weighted_auc(weights, labels, scores[0]) - weighted_auc(weights, labels, scores[1])

    value = float(difference(np.ones((1, labels.size)))[0])
    draws = _replicate(difference, labels, replicates, seed, groups, stratified)
    draws = draws[np.isfinite(draws)]
    low, high, why = _interval(difference, labels, value, draws, level, interval, groups)
    if draws.size == 0:
        return Comparison(value, None, None, None, None, method, why)
    below = float((draws < 0).sum() + (draws == 0).sum() / 2)
    one_sided = (min(below, draws.size - below) + 1) / (draws.size + 1)
    return Comparison(value, low, high, None, min(1.0, 2 * one_sided), method, why)


def bootstrap_estimate(
    statistic: WeightedStatistic,
    y: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    interval: BootstrapInterval = "percentile",
    seed: int = 0,
    groups: ArrayLike | None = None,
    stratified: bool = True,
) -> Estimate:
    """Bootstrap any statistic that can be written with case weights.

    Parameters
    ----------
    statistic
        Takes weights of shape (replicates, n), how often each case was drawn, and returns shape (replicates,);
        NaN where it is undefined in a resample. Unit weights give the value itself.
    y
        Labels, shape (n,), which the strata follow.
    replicates, level, interval, seed, groups, stratified
        As in `bootstrap_auc`. Resamples in which the statistic is undefined are left out, and ``method`` counts them.

    Returns
    -------
    Estimate

    Raises
    ------
    StatsError
        If labels or groups do not fit together.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap 1993, chapters 13 and 14.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.array([0, 0, 1, 1, 1])
    >>> print(bootstrap_estimate(lambda weights: weights @ y / weights.sum(axis=1), y, stratified=False))
    0.6000 (0.2000 to 1.0000)
    """
    labels = checked_labels(y)
    method = _method(interval, level, replicates, groups, stratified)
    value = float(statistic(np.ones((1, labels.size)))[0])
    if not np.isfinite(value):
        return Estimate.undefined(method, "the statistic is undefined in these cases")
    draws = _replicate(statistic, labels, replicates, seed, groups, stratified)
    finite = draws[np.isfinite(draws)]
    if finite.size < draws.size:
        method += f", undefined in {draws.size - finite.size} resamples"
    low, high, why = _interval(statistic, labels, value, finite, level, interval, groups)
    return Estimate(value, low, high, method, why)


def bootstrap_weights(
    y: ArrayLike,
    *,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    stratified: bool = True,
) -> Iterator[Floats]:
    """Draw resamples as weights: how often each case takes part; in pieces that fit the memory.

    With groups, whole patients are drawn; stratified then keeps the number of patients that have negative cases only,
    positive cases only, and both.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    replicates, seed, groups, stratified
        As in `bootstrap_auc`.

    Yields
    ------
    numpy.ndarray of float64, shape (some replicates, n)

    Raises
    ------
    StatsError
        If labels and groups do not fit together or there is less than one replicate.

    Examples
    --------
    >>> weights = next(bootstrap_weights([0, 0, 1, 1, 1], replicates=4))
    >>> weights.shape, weights.sum(axis=1), weights[:, :2].sum(axis=1)
    ((4, 5), array([5., 5., 5., 5.]), array([2., 2., 2., 2.]))
    """
    labels = checked_labels(y)
    if replicates < 1:
        raise StatsError("a bootstrap needs at least one replicate", found=replicates, expected="such as 2000")
    patient_of_case, strata = _strata(labels, groups, stratified)
    patients = sum(stratum.size for stratum in strata)
    alone = patients == labels.size and bool((patient_of_case == np.arange(patients)).all())
    rng = np.random.default_rng(seed)
    step = max(1, _CHUNK // labels.size)
    for start in range(0, replicates, step):
        rows = min(step, replicates - start)
        counts = np.empty((rows, patients))
        for stratum in strata:
            counts[:, stratum] = _draw(rng, rows, stratum.size)
        yield counts if alone else counts[:, patient_of_case]


def weighted_auc(weights: Floats, y: ArrayLike, p: ArrayLike) -> Floats:
    """AUC of every resample at once, O(n) each after one sort.

    Parameters
    ----------
    weights
        How often each case takes part, shape (replicates, n), ≥ 0.
    y, p
        Labels and scores, shape (n,).

    Returns
    -------
    numpy.ndarray of float64, shape (replicates,)
        NaN where a resample holds only one class.

    Raises
    ------
    StatsError
        If labels or scores are missing or do not fit together.

    Examples
    --------
    >>> import numpy as np
    >>> weighted_auc(np.array([[1.0, 1, 1, 1], [2, 0, 1, 1]]), [0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    array([0.75, 1.  ])
    """
    labels, scores = checked_pair(y, p)
    positive, negative = np.flatnonzero(labels), np.flatnonzero(~labels)
    positive = positive[np.argsort(scores[positive], kind="stable")]
    negative = negative[np.argsort(scores[negative], kind="stable")]
    below = np.searchsorted(scores[negative], scores[positive], side="left")
    up_to = np.searchsorted(scores[negative], scores[positive], side="right")
    of_positive = weights[:, positive]
    cumulated = np.zeros((len(weights), negative.size + 1))
    np.cumsum(weights[:, negative], axis=1, out=cumulated[:, 1:])
    won = cumulated[:, below]
    won += cumulated[:, up_to]
    total = of_positive.sum(axis=1) * cumulated[:, -1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.einsum("ij,ij->i", of_positive, won) / (2 * total), dtype=np.float64)


def unit_limits(value: float, low: float, high: float) -> tuple[float, float]:
    """Cut an interval at 0 and 1 and widen it to hold its value, for errors that cannot be negative.

    Examples
    --------
    >>> unit_limits(0.02, -0.01, 0.015)
    (0.0, 0.02)
    """
    return max(0.0, min(low, value)), min(1.0, max(high, value))


def _strata(labels: Bools, groups: ArrayLike | None, stratified: bool) -> tuple[Ints, list[Ints]]:
    """Return the patient number of each case and the patient numbers of each stratum."""
    if groups is None:
        patient_of_case = np.arange(labels.size)
        positive, negative = labels, ~labels
    else:
        names = np.asarray(groups)
        if names.shape != labels.shape:
            raise StatsError("labels and groups do not fit together", found=names.shape, expected=labels.shape)
        _, patient_of_case = np.unique(names, return_inverse=True)
        cases = np.bincount(patient_of_case)
        positives = np.bincount(patient_of_case, weights=labels)
        positive, negative = positives > 0, positives < cases
    if not stratified:
        return patient_of_case, [np.arange(positive.size)]
    kinds = positive + 2 * negative.astype(np.int64)
    return patient_of_case, [np.flatnonzero(kinds == kind) for kind in np.unique(kinds)]


def _draw(rng: np.random.Generator, rows: int, size: int) -> Ints:
    """How often each of size patients is drawn in size draws with replacement, for each row."""
    drawn = rng.integers(0, size, (rows, size), dtype=np.int32 if rows * size < 2**31 else np.int64)
    drawn += np.arange(rows, dtype=drawn.dtype)[:, None] * drawn.dtype.type(size)
    return np.bincount(drawn.ravel(), minlength=rows * size).reshape(rows, size)


def _replicate(
    statistic: WeightedStatistic,
    labels: Bools,
    replicates: int,
    seed: int,
    groups: ArrayLike | None,
    stratified: bool,
) -> Floats:
    pieces = bootstrap_weights(labels, replicates=replicates, seed=seed, groups=groups, stratified=stratified)
    return np.concatenate([statistic(weights) for weights in pieces])


def _interval(
    statistic: WeightedStatistic,
    labels: Bools,
    value: float,
    draws: Floats,
    level: float,
    interval: BootstrapInterval,
    groups: ArrayLike | None,
) -> tuple[float | None, float | None, str | None]:
    if draws.size == 0:
        return None, None, "the statistic is undefined in every resample"
    tails = [(1 - level) / 2, (1 + level) / 2]
    if interval == "bca":
        left_out = _leave_one_out(statistic, labels, groups)
        tails = _bca_tails(value, draws, left_out, tails)
    low, high = (float(end) for end in np.quantile(draws, tails))
    if interval == "basic":
        low, high = 2 * value - high, 2 * value - low
    return low, high, None


def _leave_one_out(statistic: WeightedStatistic, labels: Bools, groups: ArrayLike | None) -> Floats:
    """Return the statistic without each patient in turn."""
    patient_of_case, _ = _strata(labels, groups, stratified=False)
    patients = int(patient_of_case.max()) + 1
    step = max(1, _CHUNK // labels.size)
    pieces = []
    for start in range(0, patients, step):
        left_out = np.arange(start, min(start + step, patients))
        pieces.append(statistic((patient_of_case[None, :] != left_out[:, None]).astype(np.float64)))
    return np.concatenate(pieces)


def _bca_tails(value: float, draws: Floats, left_out: Floats, tails: list[float]) -> list[float]:
    """Shift the percentiles by the median bias of the draws and the skewness of the jackknife."""
    share = float(((draws < value).sum() + (draws == value).sum() / 2) / draws.size)
    # A value beyond every draw would shift the percentiles infinitely far: the extreme draw is then the end.
    share = min(max(share, 0.5 / draws.size), 1 - 0.5 / draws.size)
    bias = normal_quantile(share)
    finite = left_out[np.isfinite(left_out)]
    spread = finite.mean() - finite if finite.size else np.zeros(1)
    scale = float((spread**2).sum()) ** 1.5
    acceleration = 0.0 if scale == 0 else float((spread**3).sum()) / (6 * scale)
    shifted = []
    for tail in tails:
        z = bias + normal_quantile(tail)
        shifted.append(normal_cdf(bias + z / (1 - acceleration * z)))
    return shifted


def _method(
    interval: BootstrapInterval, level: float, replicates: int, groups: ArrayLike | None, stratified: bool
) -> str:
    names = {"percentile": "percentile", "bca": "BCa", "basic": "basic"}
    if interval not in names:
        raise StatsError("unknown bootstrap interval", found=interval, expected=", ".join(names))
    unit = "cases" if groups is None else "patients"
    strata = ", stratified by class" if stratified else ""
    return f"bootstrap of {unit}, {names[interval]} {percent(level)}, {replicates} resamples{strata}"
