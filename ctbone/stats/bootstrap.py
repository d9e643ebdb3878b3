"""Bootstrap by patient: percentile, BCa and basic intervals of any weighted statistic, the AUC and its differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import normal_cdf, normal_quantile
from ctbone.stats.estimate import Comparison, Estimate
from ctbone.stats.inputs import (
    ONE_CLASS,
    Bools,
    Floats,
    checked_labels,
    checked_models,
    checked_pair,
    percent,
)
from ctbone.stats.resampling import CHUNK, bootstrap_weights, patient_strata, weighted_auc

_LARGEST_UNDEFINED_SHARE = 0.1  # of the resamples
_ROUNDING = 1e-9  # relative spread below which draws are the same number

BootstrapInterval: TypeAlias = Literal["percentile", "bca", "basic"]
WeightedStatistic: TypeAlias = Callable[[Floats], Floats]


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
        0–1; undefined where only one class is present, without interval under perfect separation, where resamples do
        not vary (`ctbone.stats.auc_interval` has one there).

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
        return Estimate.undefined(
            _method(interval, level, replicates, groups, stratified), ONE_CLASS
        )
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
        First minus second; without interval where the difference is the same in all resamples.

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
    draws, why = defined_draws(_replicate(difference, labels, replicates, seed, groups, stratified))
    if why is not None:
        same = bool((draws == 0).all()) and value == 0 and draws.size > 0  # the models rank alike
        return Comparison(value, None, None, None, 1.0 if same else None, method, why)
    low, high = _interval(difference, labels, value, draws, level, interval, groups)
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
        Without interval where the resamples do not vary, or the statistic is undefined in more than a tenth of them.

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
    finite, why = defined_draws(draws)
    if finite.size < draws.size:
        method += f", undefined in {draws.size - finite.size} resamples"
    if why is not None:
        return Estimate(value, None, None, method, why)
    low, high = _interval(statistic, labels, value, finite, level, interval, groups)
    return Estimate(value, low, high, method)


def defined_draws(draws: Floats) -> tuple[Floats, str | None]:
    """Leave out the resamples that are undefined, and say why the others tell no interval, where they do not.

    Without any spread the resamples only repeat the value: all cases were alike by chance, which is no certainty.
    Where more than a tenth is undefined, the others are a selection.

    Examples
    --------
    >>> import numpy as np
    >>> defined_draws(np.array([1.0, 1.0]))
    (array([1., 1.]), 'the resamples do not vary')
    """
    finite = draws[np.isfinite(draws)]
    lost = draws.size - finite.size
    if finite.size == 0:
        return finite, "the statistic is undefined in every resample"
    if lost > _LARGEST_UNDEFINED_SHARE * draws.size:
        return finite, f"the statistic is undefined in {lost} of {draws.size} resamples"
    if float(np.ptp(finite)) <= _ROUNDING * float(np.abs(finite).max()):
        return finite, "the resamples do not vary"
    return finite, None


def unit_limits(value: float, low: float, high: float) -> tuple[float, float]:
    """Cut an interval at 0 and 1 and widen it to hold its value, for errors that cannot be negative.

    Examples
    --------
    >>> unit_limits(0.02, -0.01, 0.015)
    (0.0, 0.02)
    """
    return max(0.0, min(low, value)), min(1.0, max(high, value))


def _replicate(
    statistic: WeightedStatistic,
    labels: Bools,
    replicates: int,
    seed: int,
    groups: ArrayLike | None,
    stratified: bool,
) -> Floats:
    pieces = bootstrap_weights(
        labels, replicates=replicates, seed=seed, groups=groups, stratified=stratified
    )
    return np.concatenate([statistic(weights) for weights in pieces])


def _interval(
    statistic: WeightedStatistic,
    labels: Bools,
    value: float,
    draws: Floats,
    level: float,
    interval: BootstrapInterval,
    groups: ArrayLike | None,
) -> tuple[float, float]:
    tails = [(1 - level) / 2, (1 + level) / 2]
    if interval == "bca":
        left_out = _leave_one_out(statistic, labels, groups)
        tails = _bca_tails(value, draws, left_out, tails)
    low, high = (float(end) for end in np.quantile(draws, tails))
    if interval == "basic":
        low, high = 2 * value - high, 2 * value - low
    return low, high


def _leave_one_out(statistic: WeightedStatistic, labels: Bools, groups: ArrayLike | None) -> Floats:
    """Return the statistic without each patient in turn."""
    patient_of_case, _ = patient_strata(labels, groups, stratified=False)
    patients = int(patient_of_case.max()) + 1
    step = max(1, CHUNK // labels.size)
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
    interval: BootstrapInterval,
    level: float,
    replicates: int,
    groups: ArrayLike | None,
    stratified: bool,
) -> str:
    names = {"percentile": "percentile", "bca": "BCa", "basic": "basic"}
    if interval not in names:
        raise StatsError("unknown bootstrap interval", found=interval, expected=", ".join(names))
    unit = "cases" if groups is None else "patients"
    strata = ", stratified by class" if stratified else ""
    return (
        f"bootstrap of {unit}, {names[interval]} {percent(level)}, {replicates} resamples{strata}"
    )
