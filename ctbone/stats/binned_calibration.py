"""Calibration in bins: ECE, MCE (expected, maximum calibration error) and Hosmer–Lemeshow."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.bootstrap import bootstrap_estimates, unit_limits
from ctbone.stats.clusters import patient_numbers
from ctbone.stats.consistency_resampling import (
    chance_quantile_method,
    consistency_resamples,
    widen_to_chance_quantile,
)
from ctbone.stats.distributions import chi2_upper
from ctbone.stats.estimate import Estimate, TestResult
from ctbone.stats.fewest import too_few_events
from ctbone.stats.inputs import Floats, Ints, checked_pair


def equal_width_bins(p: ArrayLike, bins: int = 10) -> Ints:
    """Bin number of each probability; right-closed bins (0, 0.1], (0.1, 0.2], …, the first with 0.

    The edges are k / bins, each the float nearest to it, so that decimals such as 0.3 fall into the
    bin they close. (Edges from a running sum or ``linspace`` put 0.3, 0.6 and 0.7 one bin too
    high.)

    Parameters
    ----------
    p
        Probabilities, shape (n,).
    bins
        Number of bins, ≥ 1.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        0 … bins − 1.

    Raises
    ------
    StatsError
        If ``bins`` is less than 1.

    References
    ----------
    Guo et al., ICML 2017:1321 (right-closed bins).

    Examples
    --------
    >>> equal_width_bins([0.0, 0.1, 0.3, 0.6, 0.7, 1.0])
    array([0, 0, 2, 5, 6, 9])
    """
    if bins < 1:
        raise StatsError("probabilities need at least one bin", found=bins, expected="such as 10")
    inner = np.arange(1, bins) / bins
    return np.searchsorted(inner, np.asarray(p, dtype=np.float64), side="left").astype(np.int64)


def ece(
    y: ArrayLike,
    p: ArrayLike,
    *,
    bins: int = 10,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Estimate:
    """ECE, expected calibration error: mean gap of the bins, weighted by their numbers of cases.

    The gap of a bin is the absolute difference of its observed share of positive cases and its mean
    probability.

    The interval is that of the basic bootstrap (percentiles mirrored at the value), clipped to 0–1
    and widened to contain the value: resampling inflates the gaps, so that percentile intervals
    would lie above the value. Even a perfectly calibrated model has gaps by chance, and larger ones
    with fewer cases. Therefore the ECE is also computed for outcomes drawn from the probabilities
    (consistency resampling). If the value is not above the (1 + level) / 2 quantile of these draws,
    the interval starts at 0 and extends at least to that quantile. With several cases per patient,
    one random number is drawn for all cases of a patient, the strongest dependence possible.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities of the positive class, shape (n,).
    bins
        Number of equal-width bins, right-closed; see `equal_width_bins`.
    level, replicates, seed, groups
        Options of the bootstrap, which is not stratified; see `ctbone.stats.bootstrap_auc`.

    Returns
    -------
    Estimate
        0 (best) to 1; no interval if a class has fewer than 100 cases (patients, if they have
        several), where the error is mostly chance.

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    Naeini, Cooper & Hauskrecht, AAAI 2015:2901. Guo et al., ICML 2017:1321. Bröcker & Smith,
    Weather and Forecasting 2007;22:651 (outcomes drawn from the probabilities).

    Examples
    --------
    >>> round(ece([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 4)
    0.1375
    """
    return ece_and_mce(
        y, p, bins=bins, level=level, replicates=replicates, seed=seed, groups=groups
    )[0]


def mce(
    y: ArrayLike,
    p: ArrayLike,
    *,
    bins: int = 10,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Maximum calibration error (MCE): largest gap of a bin; parameters and interval as for `ece`.

    Parameters
    ----------
    y, p, bins, level, replicates, seed, groups
        As for `ece`.

    Returns
    -------
    Estimate
        0 (best) to 1.

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    Naeini, Cooper & Hauskrecht, AAAI 2015:2901.

    Examples
    --------
    >>> round(mce([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]).value, 4)
    0.2
    """
    return ece_and_mce(
        y, p, bins=bins, level=level, replicates=replicates, seed=seed, groups=groups
    )[1]


def hosmer_lemeshow(
    y: ArrayLike,
    p: ArrayLike,
    *,
    groups: int = 10,
    external: bool = True,
    patients: ArrayLike | None = None,
) -> TestResult:
    """Hosmer–Lemeshow test in groups of equal size, ordered by probability.

    Groups are separated at the quantiles of the probabilities (linear interpolation, right-closed);
    equal quantiles are merged. Degrees of freedom: the number of groups for external cases, two
    less for cases that the model was fitted on. The test has little power in small samples and
    rejects nearly every model in large ones: prefer the calibration curve.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Probabilities, shape (n,).
    groups
        Number of groups requested.
    external
        Whether the model was fitted on other cases.
    patients
        Patient of each case, shape (n,); default: one case per patient.

    Returns
    -------
    TestResult
        Undefined if patients have several cases, because the statistic then does not follow χ²; if
        a class has fewer than 100 cases; if a group has less than one expected event or non-event;
        or if no degree of freedom is left.

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1,
        or fewer than two groups are requested.

    References
    ----------
    Hosmer & Lemeshow, Commun Stat Theory Methods 1980;9:1043; Applied Logistic Regression 2000,
    section 5.2. Vergouwe et al., J Clin Epidemiol 2005;58:475 (100 events and non-events). Cochran,
    Biometrics 1954;10:417 (expected counts of 1 or more).

    Examples
    --------
    >>> p = np.arange(1, 400) / 400
    >>> result = hosmer_lemeshow(np.arange(399) % 10 < 10 * p, p, groups=2)
    >>> round(result.statistic, 3), result.df
    (5.074, 2.0)
    """
    labels, scores = checked_pair(y, p, probability=True)
    if groups < 2:
        raise StatsError(
            "Hosmer–Lemeshow needs at least two groups", found=groups, expected="such as 10"
        )
    whose = "not fitted on these cases" if external else "fitted on these cases"
    method = f"Hosmer–Lemeshow, model {whose}"
    if patient_numbers(patients, labels.size) is not None:
        return TestResult.undefined(method, "patients have several cases: the test assumes one")
    too_few = too_few_events(labels, None)
    if too_few is not None:
        return TestResult.undefined(method, too_few)
    edges = np.unique(np.quantile(scores, np.arange(1, groups) / groups))
    group = np.searchsorted(edges, scores, side="left")
    cases = np.bincount(group)
    present = cases > 0
    cases = cases[present]
    expected = np.bincount(group, weights=scores)[present]
    observed = np.bincount(group, weights=labels)[present]
    df = cases.size if external else cases.size - 2
    method = f"Hosmer–Lemeshow, {cases.size} groups, model {whose}"
    if df < 1:
        return TestResult.undefined(method, "too few groups: no degree of freedom is left")
    variance = expected * (1 - expected / cases)  # binomial, of the events of a group
    if (np.minimum(expected, cases - expected) < 1).any():
        return TestResult.undefined(method, "a group has less than one expected event or non-event")
    statistic = float(((observed - expected) ** 2 / variance).sum())
    return TestResult(
        statistic=statistic, df=float(df), p_value=chi2_upper(statistic, df), method=method
    )


def ece_and_mce(
    y: ArrayLike,
    p: ArrayLike,
    *,
    bins: int = 10,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> tuple[Estimate, Estimate]:
    """Compute ECE and MCE from the same resamples, in half the time of both apart.

    Parameters
    ----------
    y, p, bins, level, replicates, seed, groups
        As for `ece`.

    Returns
    -------
    ece, mce : Estimate
        As `ece` and `mce` return them.

    Raises
    ------
    StatsError
        If labels or probabilities are missing or differ in length, or a probability is outside 0–1.

    References
    ----------
    As for `ece`.

    Examples
    --------
    >>> mean, largest = ece_and_mce([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8])
    >>> round(mean.value, 4), round(largest.value, 4)
    (0.1375, 0.2)
    """
    labels, scores = checked_pair(y, p, probability=True)
    patients = patient_numbers(groups, labels.size)
    bin_of_case = equal_width_bins(scores, bins)
    used, place = np.unique(bin_of_case, return_inverse=True)
    member = np.zeros((labels.size, used.size))
    member[np.arange(labels.size), place] = 1.0
    # Gap of a bin times its cases: |Σ (y − p)|, here per case (surplus) and as Σ p (expected).
    surplus, expected = member * (labels - scores)[:, None], scores @ member
    cases = member.sum(axis=0, keepdims=True)
    width = f"{bins} equal-width right-closed bins"
    too_few = too_few_events(labels, patients)
    if too_few is not None:
        values = _mean_and_largest(np.abs(surplus.sum(axis=0, keepdims=True)), cases)[0]
        mean, largest = (
            Estimate.without_interval(float(value), f"{width}, no interval", too_few)
            for value in values
        )
        return mean, largest
    estimates = bootstrap_estimates(
        lambda weights: _mean_and_largest(np.abs(weights @ surplus), weights @ member),
        labels,
        replicates=replicates,
        level=level,
        interval="basic",
        seed=seed,
        groups=groups,
        stratified=False,
    )
    chance = np.concatenate(
        [
            _mean_and_largest(np.abs(outcomes @ member - expected), cases)
            for outcomes in consistency_resamples(
                scores, patients, replicates=replicates, seed=seed
            )
        ]
    )
    mean, largest = (
        _widened(estimate, width=width, chance=of_estimate, level=level)
        for estimate, of_estimate in zip(estimates, chance.T, strict=True)
    )
    return mean, largest


def _mean_and_largest(gap: Floats, cases: Floats) -> Floats:
    """ECE and MCE from gap times cases and cases of each bin; shape (rows, 2)."""
    gaps = np.divide(gap, cases, out=np.zeros_like(gap), where=cases > 0)
    return np.column_stack([gap.sum(axis=1) / cases.sum(axis=1), gaps.max(axis=1)])


def _widened(estimate: Estimate, *, width: str, chance: Floats, level: float) -> Estimate:
    """Clip the interval of an error to 0–1 and widen it to what chance explains."""
    method = f"{width}, {estimate.method}"
    if estimate.value is None or estimate.low is None or estimate.high is None:
        return Estimate.without_interval(estimate.value, method, estimate.why)
    limits = unit_limits(estimate.value, estimate.low, estimate.high)
    limits = widen_to_chance_quantile(estimate.value, *limits, chance, level)
    return Estimate(estimate.value, *limits, f"{method}; {chance_quantile_method(level)}")
