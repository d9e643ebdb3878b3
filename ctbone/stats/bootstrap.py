"""Bootstrap by patient: percentile, BCa and basic intervals of any weighted statistic or AUC."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import (
    normal_cdf,
    normal_quantile,
    student_quantile,
    student_two_sided,
)
from ctbone.stats.estimate import Comparison, Estimate
from ctbone.stats.fewest import FEWEST_CASES
from ctbone.stats.inputs import (
    ONE_CLASS,
    Bools,
    Floats,
    checked_labels,
    checked_models,
    checked_pair,
    percent,
)
from ctbone.stats.placements import class_counts
from ctbone.stats.resampling import CHUNK, bootstrap_weights, patient_strata, weighted_auc

_LARGEST_UNDEFINED_SHARE = 0.1  # of the resamples; with more, the others are a selection
_ROUNDING = 1e-9  # relative range (maximum − minimum) below which resampled values are equal

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
    """AUC with a bootstrap interval by patient.

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
        ``"percentile"``, ``"bca"`` (bias-corrected and accelerated) or ``"basic"`` (percentiles
        mirrored at the value). Percentiles are expanded for few patients; see `expanded_tails`.
    seed
        Seed of the random generator; the same seed draws the same patients.
    groups
        Patient of each case, shape (n,); a patient is drawn with all its cases. Default: one case
        per patient.
    stratified
        Keep the number of patients of each class in every resample.

    Returns
    -------
    Estimate
        0–1; undefined if only one class is present. No interval if a class has fewer than five
        patients, nor under perfect separation, where the resamples do not vary
        (`ctbone.stats.auc_interval` gives one in both cases).

    Raises
    ------
    StatsError
        If labels, scores or groups are missing or differ in length.

    References
    ----------
    Efron, J Am Stat Assoc 1987;82:171 (BCa). Field & Welsh, J R Stat Soc B 2007;69:369 (clusters).
    Hesterberg, Am Stat 2015;69:371 (expanded percentiles).

    Examples
    --------
    >>> print(bootstrap_auc([0, 0, 0, 0, 0, 1, 1, 1, 1, 1], [1, 2, 4, 0, 7, 3, 5, 6, 8, 9]))
    0.8400 (0.3200 to 1.0000)
    """
    labels, scores = checked_pair(y, p)
    if labels.all() or not labels.any():
        return Estimate.undefined(
            _method(
                interval=interval,
                level=level,
                replicates=replicates,
                groups=groups,
                stratified=stratified,
            ),
            ONE_CLASS,
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
    """Difference of two AUCs on the same cases, with the same resamples for both models.

    The p-value is twice the smaller of the shares of resamples below and above zero. Resamples at
    exactly zero count half on each side, and the data count as one more resample, so that p is
    never 0. There is no test statistic.

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
        First minus second; no interval if the difference is the same in all resamples.

    Raises
    ------
    StatsError
        If labels, scores or groups are missing or differ in length.

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
    method = (
        _method(
            interval=interval,
            level=level,
            replicates=replicates,
            groups=groups,
            stratified=stratified,
        )
        + ", paired"
    )
    if labels.all() or not labels.any():
        return Comparison.undefined(method, ONE_CLASS)

    def difference(weights: Floats) -> Floats:
        return weighted_auc(weights, labels, scores[0]) - weighted_auc(weights, labels, scores[1])

    value = float(difference(np.ones((1, labels.size)))[0])
    draws, why = defined_draws(
        _replicate(
            difference,
            labels,
            replicates=replicates,
            seed=seed,
            groups=groups,
            stratified=stratified,
        )
    )
    units = resampled_units(labels, groups, stratified)
    if why is None and units < FEWEST_CASES:
        return Comparison.without_interval(value, method, too_few_units(groups, stratified))
    if why is not None:
        same = bool((draws == 0).all()) and value == 0 and draws.size > 0  # the models rank alike
        return Comparison.without_interval(value, method, why, p_value=1.0 if same else None)
    low, high = _interval(
        difference,
        labels,
        value=value,
        draws=draws,
        tails=expanded_tails(level, units),
        interval=interval,
        groups=groups,
    )
    below = float((draws < 0).sum() + (draws == 0).sum() / 2)
    one_sided = (min(below, draws.size - below) + 1) / (draws.size + 1)
    one_sided = unexpanded_share(one_sided, units)
    return Comparison(
        difference=value,
        low=low,
        high=high,
        statistic=None,
        p_value=min(1.0, 2 * one_sided),
        method=method,
        why=why,
    )


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
    """Bootstrap interval of any statistic that is a function of case weights.

    Parameters
    ----------
    statistic
        Function of the weights (how often each case is drawn, shape (replicates, n)) that returns
        shape (replicates,), NaN where undefined. Unit weights give the value.
    y
        Labels, shape (n,), which define the strata.
    replicates, level, interval, seed, groups, stratified
        As in `bootstrap_auc`. Resamples in which the statistic is undefined are left out, and
        ``method`` gives their number.

    Returns
    -------
    Estimate
        No interval if the resamples do not vary or the statistic is undefined in more than a tenth
        of them.

    Raises
    ------
    StatsError
        If labels or groups are missing or differ in length.

    References
    ----------
    Efron & Tibshirani, An Introduction to the Bootstrap 1993, chapters 13 and 14.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.arange(12) % 3 == 0
    >>> mean = lambda weights: weights @ y / weights.sum(axis=1)
    >>> print(bootstrap_estimate(mean, y, stratified=False))
    0.3333 (0.0833 to 0.6667)
    """
    return bootstrap_estimates(
        lambda weights: statistic(weights)[:, None],
        y,
        replicates=replicates,
        level=level,
        interval=interval,
        seed=seed,
        groups=groups,
        stratified=stratified,
    )[0]


def bootstrap_estimates(
    statistics: WeightedStatistic,
    y: ArrayLike,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    interval: BootstrapInterval = "percentile",
    seed: int = 0,
    groups: ArrayLike | None = None,
    stratified: bool = True,
) -> list[Estimate]:
    """Bootstrap intervals of several statistics from the same resamples.

    Parameters
    ----------
    statistics
        As the statistic of `bootstrap_estimate`, but returns shape (replicates, statistics).
    y, replicates, level, interval, seed, groups, stratified
        As in `bootstrap_estimate`.

    Returns
    -------
    list of Estimate
        Each as `bootstrap_estimate` gives it.

    Raises
    ------
    StatsError
        If labels or groups are missing or differ in length.

    References
    ----------
    As for `bootstrap_estimate`.

    Examples
    --------
    >>> import numpy as np
    >>> y = np.arange(12) % 3 == 0
    >>> share = lambda weights: weights @ y / weights.sum(axis=1)
    >>> both = lambda weights: np.column_stack([share(weights), 1 - share(weights)])
    >>> print(*bootstrap_estimates(both, y, stratified=False), sep="; ")
    0.3333 (0.0833 to 0.6667); 0.6667 (0.3333 to 0.9167)
    """
    labels = checked_labels(y)
    values = statistics(np.ones((1, labels.size)))[0]
    draws = _replicate(
        statistics, labels, replicates=replicates, seed=seed, groups=groups, stratified=stratified
    )

    def of_column(column: int) -> WeightedStatistic:
        return lambda weights: statistics(weights)[:, column]

    return [
        _estimate_from_draws(
            of_column(column),
            labels,
            value=float(value),
            draws=draws[:, column],
            replicates=replicates,
            level=level,
            interval=interval,
            groups=groups,
            stratified=stratified,
        )
        for column, value in enumerate(values)
    ]


def _estimate_from_draws(
    statistic: WeightedStatistic,
    labels: Bools,
    *,
    value: float,
    draws: Floats,
    replicates: int,
    level: float,
    interval: BootstrapInterval,
    groups: ArrayLike | None,
    stratified: bool,
) -> Estimate:
    """Return the estimate of one statistic, given its values in the resamples."""
    method = _method(
        interval=interval, level=level, replicates=replicates, groups=groups, stratified=stratified
    )
    if not np.isfinite(value):
        return Estimate.undefined(method, "the statistic is undefined in these cases")
    finite, why = defined_draws(draws)
    units = resampled_units(labels, groups, stratified)
    if why is None and units < FEWEST_CASES:
        why = too_few_units(groups, stratified)
    if finite.size < draws.size:
        method += f", undefined in {draws.size - finite.size} resamples"
    if why is not None:
        return Estimate.without_interval(value, method, why)
    low, high = _interval(
        statistic,
        labels,
        value=value,
        draws=finite,
        tails=expanded_tails(level, units),
        interval=interval,
        groups=groups,
    )
    return Estimate(value=value, low=low, high=high, method=method)


def defined_draws(draws: Floats) -> tuple[Floats, str | None]:
    """Return the defined resampled values, and the reason if they give no interval.

    There is no interval if the values do not vary, because identical resamples are no evidence of
    certainty, or if more than a tenth is undefined, because the others are then a selection.

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


def resampled_units(labels: Bools, groups: ArrayLike | None, stratified: bool) -> int:
    """Return the number of patients that are resampled; if stratified, those of the rarer class.

    Examples
    --------
    >>> import numpy as np
    >>> resampled_units(np.array([True, True, False, False]), ["a", "b", "c", "c"], True)
    1
    """
    patient_of_case, strata = patient_strata(labels, groups, stratified=False)
    if stratified and labels.any() and not labels.all():
        return min(class_counts(labels, patient_of_case))
    return strata[0].size


def too_few_units(groups: ArrayLike | None, stratified: bool) -> str:
    """Reason for no bootstrap interval of fewer than five patients."""
    unit = "cases" if groups is None else "patients"
    return f"fewer than {FEWEST_CASES} {unit}{' of a class' if stratified else ''} to resample"


def expanded_tails(level: float, units: int) -> list[float]:
    """Tail probabilities of an expanded percentile interval, below and above.

    The spread of resamples is too small by √((n − 1) / n) for n patients and its uncertainty is
    that of Student's t, as for a mean. The percentiles are moved outwards accordingly.

    Parameters
    ----------
    level
        Confidence level.
    units
        Number of patients, ≥ 2; of a stratified bootstrap that of the rarer class.

    References
    ----------
    Hesterberg, Am Stat 2015;69:371, section 5.

    Examples
    --------
    >>> [round(tail, 4) for tail in expanded_tails(0.95, 10)]
    [0.0086, 0.9914]
    """
    t = student_quantile(0.5 + level / 2, units - 1) * math.sqrt(units / (units - 1))
    return [normal_cdf(-t), normal_cdf(t)]


def unexpanded_share(share: float, units: int) -> float:
    """One-sided p-value from a share of resamples; the inverse of `expanded_tails`.

    Examples
    --------
    >>> round(unexpanded_share(0.00855, 10), 3)
    0.025
    """
    if share >= 0.5:
        return 0.5
    z = normal_quantile(share) / math.sqrt(units / (units - 1))
    return student_two_sided(z, units - 1) / 2


def unit_limits(value: float, low: float, high: float) -> tuple[float, float]:
    """Clip an interval to 0–1 and widen it to contain the value.

    Examples
    --------
    >>> unit_limits(0.02, -0.01, 0.015)
    (0.0, 0.02)
    """
    return max(0.0, min(low, value)), min(1.0, max(high, value))


def _replicate(
    statistic: WeightedStatistic,
    labels: Bools,
    *,
    replicates: int,
    seed: int,
    groups: ArrayLike | None,
    stratified: bool,
) -> Floats:
    """Values of the statistic in all resamples, shape (replicates,)."""
    pieces = bootstrap_weights(
        labels, replicates=replicates, seed=seed, groups=groups, stratified=stratified
    )
    return np.concatenate([statistic(weights) for weights in pieces])


def _interval(
    statistic: WeightedStatistic,
    labels: Bools,
    *,
    value: float,
    draws: Floats,
    tails: list[float],
    interval: BootstrapInterval,
    groups: ArrayLike | None,
) -> tuple[float, float]:
    """Limits of the interval from the resampled values."""
    if interval == "bca":
        left_out = _leave_one_out(statistic, labels, groups)
        tails = _bca_tails(value, draws, left_out=left_out, tails=tails)
    low, high = (float(end) for end in np.quantile(draws, tails))
    if interval == "basic":
        low, high = 2 * value - high, 2 * value - low
    return low, high


def _leave_one_out(statistic: WeightedStatistic, labels: Bools, groups: ArrayLike | None) -> Floats:
    """Jackknife values: the statistic without each patient in turn, shape (patients,)."""
    patient_of_case, _ = patient_strata(labels, groups, stratified=False)
    patients = int(patient_of_case.max()) + 1
    step = max(1, CHUNK // labels.size)
    pieces = []
    for start in range(0, patients, step):
        left_out = np.arange(start, min(start + step, patients))
        pieces.append(statistic((patient_of_case[None, :] != left_out[:, None]).astype(np.float64)))
    return np.concatenate(pieces)


def _bca_tails(value: float, draws: Floats, left_out: Floats, tails: list[float]) -> list[float]:
    """BCa tail probabilities: shifted by median bias and acceleration (jackknife skewness / 6)."""
    # Share of the draws below the value, half of those equal to it.
    share = float(((draws < value).sum() + (draws == value).sum() / 2) / draws.size)
    # A value outside the range of the draws would shift the percentiles infinitely far; with this
    # bound the extreme draw becomes the limit.
    share = min(max(share, 0.5 / draws.size), 1 - 0.5 / draws.size)
    bias = normal_quantile(share)
    finite = left_out[np.isfinite(left_out)]
    deviation = finite.mean() - finite if finite.size else np.zeros(1)
    scale = float((deviation**2).sum()) ** 1.5
    acceleration = 0.0 if scale == 0 else float((deviation**3).sum()) / (6 * scale)
    shifted = []
    for tail in tails:
        z = bias + normal_quantile(tail)
        shifted.append(normal_cdf(bias + z / (1 - acceleration * z)))
    return shifted


def _method(
    *,
    interval: BootstrapInterval,
    level: float,
    replicates: int,
    groups: ArrayLike | None,
    stratified: bool,
) -> str:
    """Describe the bootstrap, for ``method``."""
    names = {"percentile": "expanded percentile", "bca": "expanded BCa", "basic": "expanded basic"}
    if interval not in names:
        raise StatsError("unknown bootstrap interval", found=interval, expected=", ".join(names))
    unit = "cases" if groups is None else "patients"
    strata = ", stratified by class" if stratified else ""
    return (
        f"bootstrap of {unit}, {names[interval]} {percent(level)}, {replicates} resamples{strata}"
    )
