"""Rates of clustered cases: Rao–Scott intervals from counts divided by the design effect."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.clusters import (
    counts_by_patient,
    design_effect,
    kish_design_effect,
    patient_numbers,
)
from ctbone.stats.confusion_table import Confusion, confusion
from ctbone.stats.distributions import student_quantile
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import Floats, Ints, checked_labels
from ctbone.stats.proportions import ProportionInterval, proportion
from ctbone.stats.rates import PROPORTIONS, RateName, rate_by_name, threshold_rates

BY_PATIENT = "by patient (Rao–Scott)"
DEPENDENT = "by patient (Rao–Scott, cases of a patient fully dependent)"


def clustered_rates(
    y: ArrayLike,
    called: ArrayLike,
    groups: ArrayLike | None,
    *,
    level: float = 0.95,
    interval: ProportionInterval = "wilson",
) -> dict[RateName, Estimate]:
    """All rates of a decision by name, with intervals by patient (Rao–Scott adjustment).

    Each rate's counts are divided by its design effect, and the interval of `threshold_rates` is
    computed from the quotients (the effective counts); the value is that of the original counts.
    The design effect is the variance between patients over the variance between cases, both by the
    jackknife, enlarged if patients are few and at least 1. If cases do not vary (a rate of 0 or 1),
    or the rate is undefined without one of the patients, a patient's cases are taken as fully
    dependent (Kish's design effect), which is the worst case. With one case per patient the result
    equals that of `threshold_rates`.

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    called
        Whether each case is called positive, shape (n,).
    groups
        Patient of each case, shape (n,), numbers or strings; None for one case per patient.
    level, interval
        As for `threshold_rates`.

    Returns
    -------
    dict
        Name of the rate to its Estimate, as from `threshold_rates`.

    Raises
    ------
    StatsError
        If labels, calls or groups are missing or differ in length, the level is not strictly
        between 0 and 1, or the interval is unknown.

    References
    ----------
    Rao & Scott, Biometrics 1992;48:577. Korn & Graubard, Surv Methodol 1998;24:193 (few patients).
    Kish, Survey Sampling 1965 (full dependence). Intervals: see each rate.

    Examples
    --------
    >>> y, called = [1] * 12 + [0] * 12, [1, 1, 0, 0, 1, 1] * 2 + [0, 0, 0, 1] * 3
    >>> print(clustered_rates(y, called, np.repeat(np.arange(12), 2))["sensitivity"])
    0.6667 (0.2451 to 0.9249)
    >>> print(threshold_rates(Confusion(9, 3, 4, 8))["sensitivity"])
    0.6667 (0.3906 to 0.8619)
    """
    truth, positive = checked_labels(y), checked_labels(called)
    counts = confusion(truth, positive, 0.5)
    rates = threshold_rates(counts, level=level, interval=interval)
    patients = patient_numbers(groups, truth.size)
    if patients is None:
        return rates
    table = counts_by_patient(2 * truth.astype(np.int64) + positive, patients, 4)
    found: dict[RateName, Estimate] = {}
    for name, estimate in rates.items():
        jackknifed = _RATE_STATISTICS[name]
        divisor, words = adjusted_design_effect(
            jackknifed.statistic,
            table,
            weights=jackknifed.weights(counts),
            level=level,
            classes=2 if jackknifed.by_class else 1,
        )
        effective = _effective_counts(counts, divisor)
        scaled = (
            rate_by_name(name, effective, level=level, interval=interval)
            if name not in PROPORTIONS or estimate.value is None
            else _of_patients(
                table[:, np.array(jackknifed.cells) > 0],
                estimate.value,
                divisor=divisor,
                level=level,
                interval=interval,
            )
        )
        found[name] = replace(scaled, value=estimate.value, method=f"{scaled.method}, {words}")
    return found


def clustered_proportion(
    events: ArrayLike,
    groups: ArrayLike | None,
    *,
    level: float = 0.95,
    interval: ProportionInterval = "wilson",
    empty: str = "no case in the denominator",
) -> Estimate:
    """Share of the cases with an event, with an interval by patient (Rao–Scott adjustment).

    Parameters
    ----------
    events
        Whether each case has the event, shape (n,).
    groups
        As for `clustered_rates`.
    level, interval, empty
        As for `ctbone.stats.proportion`.

    Returns
    -------
    Estimate
        0–1; undefined if there is no case.

    Raises
    ------
    StatsError
        If events or groups are missing or differ in length, or the interval is unknown.

    References
    ----------
    Rao & Scott, Biometrics 1992;48:577. Korn & Graubard, Surv Methodol 1998;24:193 (exact
    interval).

    Examples
    --------
    >>> print(clustered_proportion([1, 1, 1, 1, 0, 0] * 3, np.repeat(np.arange(9), 2)))
    0.6667 (0.3226 to 0.8936)
    """
    happened = np.asarray(events)
    if happened.size == 0:
        return proportion(0, 0, level=level, interval=interval, empty=empty)
    happened = checked_labels(happened)
    count = int(happened.sum())
    plain = proportion(count, happened.size, level=level, interval=interval)
    patients = patient_numbers(groups, happened.size)
    if patients is None:
        return plain
    table = counts_by_patient(happened.astype(np.int64), patients, 2)
    divisor, words = adjusted_design_effect(
        _share_of_second, table, weights=np.ones(2), level=level
    )
    scaled = _of_patients(
        table, count / happened.size, divisor=divisor, level=level, interval=interval
    )
    return replace(scaled, value=plain.value, method=f"{scaled.method}, {words}")


def _of_patients(
    table: Ints, share: float, *, divisor: float, level: float, interval: ProportionInterval
) -> Estimate:
    """Proportion at the effective number of cases; ``table`` has the cases of its denominator."""
    n = float(table.sum()) / divisor
    return proportion(
        share * n, n, level=level, interval=interval, patients=int(table.any(axis=1).sum())
    )


def adjusted_design_effect(
    statistic: Callable[[Floats], Floats],
    by_patient: Ints,
    *,
    weights: Floats,
    level: float,
    classes: int = 1,
) -> tuple[float, str]:
    """Design effect, adjusted for few patients; counts are divided by it for intervals by patient.

    The design effect is multiplied by (t(G − 1) / t(n − 1))², the squared ratio of Student's
    quantiles for G patients and n cases, because with few patients the design effect is itself
    uncertain. If the statistic is a combination of the classes' rates, G and n are those of the
    rarest class.

    Parameters
    ----------
    statistic
        As for `ctbone.stats.clusters.design_effect`.
    by_patient
        Each patient's cases of each kind, shape (patients, kinds).
    weights
        Weight of a case of each kind in the statistic, shape (kinds,), for Kish's design effect; 0
        for kinds that the statistic does not use.
    level
        Confidence level.
    classes
        Number of classes whose rates the statistic combines; the columns of ``by_patient`` are
        ordered by class, the same number for each.

    Returns
    -------
    divisor : float
        ≥ 1.
    words : str
        Description of the adjustment, for ``method``.

    References
    ----------
    Rao & Scott, Biometrics 1992;48:577. Korn & Graubard, Surv Methodol 1998;24:193 (degrees of
    freedom).

    Examples
    --------
    >>> import numpy as np
    >>> share = lambda tables: tables[:, 1] / tables.sum(axis=1)
    >>> adjusted_design_effect(share, np.array([[0, 2], [0, 2]]), weights=np.ones(2), level=0.95)
    (2.0, 'by patient (Rao–Scott, cases of a patient fully dependent)')
    """
    concerned = np.where(weights > 0, by_patient, 0)
    concerned = concerned[concerned.any(axis=1)]
    if len(concerned) == 0:
        return 1.0, BY_PATIENT
    effect = design_effect(statistic, concerned)
    if effect is None:
        return max(1.0, kish_design_effect(concerned, weights)), DEPENDENT
    tail = 0.5 + level / 2
    cases = concerned.reshape(len(concerned), classes, -1).sum(axis=2)
    of_patients = student_quantile(tail, max(1, int((cases > 0).sum(axis=0).min()) - 1))
    of_cases = student_quantile(tail, max(1, int(cases.sum(axis=0).min()) - 1))
    return max(1.0, effect * (of_patients / of_cases) ** 2), BY_PATIENT


@dataclass(frozen=True)
class _EffectiveCounts:
    """Confusion counts divided by a design effect."""

    tn: float
    fp: float
    fn: float
    tp: float


def _effective_counts(counts: Confusion, divisor: float) -> _EffectiveCounts:
    return _EffectiveCounts(
        tn=counts.tn / divisor,
        fp=counts.fp / divisor,
        fn=counts.fn / divisor,
        tp=counts.tp / divisor,
    )


@dataclass(frozen=True)
class _RateStatistic:
    """A rate as a function of tables with columns tn, fp, fn, tp, and the cells that it uses."""

    statistic: Callable[[Floats], Floats]
    cells: tuple[int, int, int, int] = (1, 1, 1, 1)
    by_class: bool = False
    """Whether its variance is the sum of one term over the positives and one over the negatives."""

    def weights(self, counts: Confusion) -> Floats:
        """Weight of a case in each cell in the rate's variance, shape (4,)."""
        weights = np.array(self.cells, dtype=np.float64)
        if self.by_class:
            weights /= np.maximum(1, np.repeat([counts.tn + counts.fp, counts.fn + counts.tp], 2))
        return weights


def _share_of_second(tables: Floats) -> Floats:
    """Share of the second column in each table."""
    return np.asarray(tables[:, 1] / tables.sum(axis=1), dtype=np.float64)


def _mcc(tables: Floats) -> Floats:
    """Matthews correlation (φ) of each table; see `ctbone.stats.mcc`."""
    tn, fp, fn, tp = tables.T
    return np.asarray(
        (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)),
        dtype=np.float64,
    )


def _sensitivity(tables: Floats) -> Floats:
    return np.asarray(tables[:, 3] / (tables[:, 2] + tables[:, 3]), dtype=np.float64)


def _specificity(tables: Floats) -> Floats:
    return np.asarray(tables[:, 0] / (tables[:, 0] + tables[:, 1]), dtype=np.float64)


# Each rate on the scale of its interval: F1 as the Jaccard index TP / (TP + FP + FN), likelihood
# ratios as logarithms. Cells are weights of (tn, fp, fn, tp).
_RATE_STATISTICS: dict[RateName, _RateStatistic] = {
    "sensitivity": _RateStatistic(_sensitivity, (0, 0, 1, 1)),
    "specificity": _RateStatistic(_specificity, (1, 1, 0, 0)),
    "ppv": _RateStatistic(lambda t: t[:, 3] / (t[:, 1] + t[:, 3]), (0, 1, 0, 1)),
    "npv": _RateStatistic(lambda t: t[:, 0] / (t[:, 0] + t[:, 2]), (1, 0, 1, 0)),
    "accuracy": _RateStatistic(lambda t: (t[:, 0] + t[:, 3]) / t.sum(axis=1)),
    "balanced_accuracy": _RateStatistic(lambda t: _sensitivity(t) + _specificity(t), by_class=True),
    "f1": _RateStatistic(lambda t: t[:, 3] / (t[:, 1] + t[:, 2] + t[:, 3]), (0, 1, 1, 1)),
    "mcc": _RateStatistic(_mcc, by_class=True),
    "positive_likelihood_ratio": _RateStatistic(
        lambda t: np.log(_sensitivity(t)) - np.log(1 - _specificity(t)), by_class=True
    ),
    "negative_likelihood_ratio": _RateStatistic(
        lambda t: np.log(1 - _sensitivity(t)) - np.log(_specificity(t)), by_class=True
    ),
}
