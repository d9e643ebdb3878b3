"""Rates of a two-by-two table: sensitivity, specificity, F1, MCC, likelihood ratios and others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

from ctbone.stats.confusion_table import Confusion, ConfusionCounts
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import percent
from ctbone.stats.proportions import ProportionInterval, proportion, wilson_limits


def sensitivity(
    counts: ConfusionCounts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Sensitivity (recall): share of the positive cases that are called positive.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.
    interval
        ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    Estimate
        0–1; undefined if there is no positive case.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1, or the interval is unknown.

    References
    ----------
    Altman & Bland, BMJ 1994;308:1552 and 309:102. Wilson, J Am Stat Assoc 1927;22:209.

    Examples
    --------
    >>> print(sensitivity(Confusion(92, 37, 33, 352)))
    0.9143 (0.8821 to 0.9383)
    """
    return proportion(
        counts.tp,
        counts.tp + counts.fn,
        level=level,
        interval=interval,
        empty="there is no positive case",
    )


def specificity(
    counts: ConfusionCounts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Specificity: share of the negative cases that are called negative.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.
    interval
        ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    Estimate
        0–1; undefined if there is no negative case.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1, or the interval is unknown.

    References
    ----------
    Altman & Bland, BMJ 1994;308:1552 and 309:102. Wilson, J Am Stat Assoc 1927;22:209.

    Examples
    --------
    >>> print(specificity(Confusion(92, 37, 33, 352)))
    0.7132 (0.6299 to 0.7842)
    """
    return proportion(
        counts.tn,
        counts.tn + counts.fp,
        level=level,
        interval=interval,
        empty="there is no negative case",
    )


def ppv(
    counts: ConfusionCounts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Positive predictive value (precision): share of the positive calls that are correct.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.
    interval
        ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    Estimate
        0–1; undefined if no case is called positive.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1, or the interval is unknown.

    References
    ----------
    Altman & Bland, BMJ 1994;308:1552 and 309:102. Wilson, J Am Stat Assoc 1927;22:209.

    Examples
    --------
    >>> round(ppv(Confusion(92, 37, 33, 352)).value, 4)
    0.9049
    """
    return proportion(
        counts.tp,
        counts.tp + counts.fp,
        level=level,
        interval=interval,
        empty="no case is called positive",
    )


def npv(
    counts: ConfusionCounts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Negative predictive value: share of the negative calls that are correct.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.
    interval
        ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    Estimate
        0–1; undefined if no case is called negative.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1, or the interval is unknown.

    References
    ----------
    Altman & Bland, BMJ 1994;308:1552 and 309:102. Wilson, J Am Stat Assoc 1927;22:209.

    Examples
    --------
    >>> round(npv(Confusion(92, 37, 33, 352)).value, 4)
    0.736
    """
    return proportion(
        counts.tn,
        counts.tn + counts.fn,
        level=level,
        interval=interval,
        empty="no case is called negative",
    )


def accuracy(
    counts: ConfusionCounts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Accuracy: share of the cases that are called correctly.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.
    interval
        ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    Estimate
        0–1; undefined if there is no case.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1, or the interval is unknown.

    References
    ----------
    Altman & Bland, BMJ 1994;308:1552 and 309:102. Wilson, J Am Stat Assoc 1927;22:209.

    Examples
    --------
    >>> round(accuracy(Confusion(92, 37, 33, 352)).value, 4)
    0.8638
    """
    right = counts.tn + counts.tp
    cases = counts.tn + counts.fp + counts.fn + counts.tp
    return proportion(right, cases, level=level, interval=interval, empty="there is no case")


def balanced_accuracy(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """Balanced accuracy: mean of sensitivity and specificity; Wilson limits combined by MOVER.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        0–1; undefined if a class has no case.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Zou & Donner, Stat Med 2008;27:1693.

    Examples
    --------
    >>> print(balanced_accuracy(Confusion(92, 37, 33, 352)))
    0.8137 (0.7691 to 0.8512)
    """
    method = f"Wilson limits combined (MOVER), {percent(level)}"
    positives, negatives = counts.tp + counts.fn, counts.tn + counts.fp
    if positives == 0 or negatives == 0:
        return Estimate.undefined(
            method, f"there is no {'positive' if positives == 0 else 'negative'} case"
        )
    sensitivity, specificity = counts.tp / positives, counts.tn / negatives
    se_low, se_high = wilson_limits(counts.tp, positives, level)
    sp_low, sp_high = wilson_limits(counts.tn, negatives, level)
    value = (sensitivity + specificity) / 2
    # MOVER (Zou & Donner 2008): root of the summed squares of the two rates' own half widths.
    low = value - math.hypot(sensitivity - se_low, specificity - sp_low) / 2
    high = value + math.hypot(se_high - sensitivity, sp_high - specificity) / 2
    return Estimate(value=value, low=low, high=high, method=method)


def f1(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """F1 score of the positive class, with the transformed Wilson interval of the Jaccard index.

    F1 = 2J / (1 + J) with the Jaccard index J = TP / (TP + FP + FN). The transformation is
    monotone, so that it maps the limits of J to limits of F1.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        0–1; undefined if no case is positive or called positive.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Lam, Gopal & Qian, arXiv:2309.14621 (Wilson indirect).

    Examples
    --------
    >>> print(f1(Confusion(92, 37, 33, 352)))
    0.9096 (0.8862 to 0.9285)
    """
    method = f"Wilson, indirect, {percent(level)}"
    concerned = counts.tp + counts.fp + counts.fn
    if concerned == 0:
        return Estimate.undefined(method, "no case is positive or called positive")
    shares = (counts.tp / concerned, *wilson_limits(counts.tp, concerned, level))
    value, low, high = (2 * share / (1 + share) for share in shares)
    return Estimate(value=value, low=low, high=high, method=method)


def mcc(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """Matthews correlation coefficient; delta method on Fisher's z, multinomial counts.

    A perfect (or perfectly wrong) table has variance 0; the interval is then that of the table with
    ½ added to each cell, and ``method`` states it.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        −1 to 1; undefined if a class or a call does not occur.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Matthews, Biochim Biophys Acta 1975;405:442. Bishop, Fienberg & Holland, Discrete Multivariate
    Analysis 1975, section 11.3 (variance of φ). Itaya et al., arXiv:2405.12622 (Fisher's z).

    Examples
    --------
    >>> print(mcc(Confusion(92, 37, 33, 352)))
    0.6341 (0.5496 to 0.7058)
    """
    method = f"delta method on Fisher's z, {percent(level)}"
    cells = (float(counts.tn), float(counts.fp), float(counts.fn), float(counts.tp))
    value = _phi(*cells)
    if value is None:
        return Estimate.undefined(method, "a class, or a call, is absent")
    centre = value
    if abs(value) == 1:
        method += ", ½ added to each cell"
        cells = (cells[0] + 0.5, cells[1] + 0.5, cells[2] + 0.5, cells[3] + 0.5)
        shifted = _phi(*cells)
        assert shifted is not None
        centre = shifted
    half = two_sided_z(level) * _phi_error(*cells) / (1 - centre**2)
    low, high = math.tanh(math.atanh(centre) - half), math.tanh(math.atanh(centre) + half)
    return Estimate(
        value=value,
        low=-1.0 if value == -1 else low,
        high=1.0 if value == 1 else high,
        method=method,
    )


def positive_likelihood_ratio(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """Positive likelihood ratio: sensitivity / (1 − specificity); interval on the log scale.

    Undefined if no negative case is called positive; no interval if no positive case, or every
    case, is called positive.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        ≥ 0.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Simel, Samsa & Matchar, J Clin Epidemiol 1991;44:763.

    Examples
    --------
    >>> print(positive_likelihood_ratio(Confusion(92, 37, 33, 352)))
    3.1876 (2.4241 to 4.1917)
    """
    return _likelihood_ratio(
        above=counts.tp,
        of_above=counts.tp + counts.fn,
        below=counts.fp,
        of_below=counts.fp + counts.tn,
        level=level,
        if_zero="no negative case is called positive",
    )


def negative_likelihood_ratio(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """Negative likelihood ratio: (1 − sensitivity) / specificity; interval on the log scale.

    Undefined if no negative case is called negative; no interval if no positive case, or every
    case, is called negative.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        ≥ 0.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Simel, Samsa & Matchar, J Clin Epidemiol 1991;44:763.

    Examples
    --------
    >>> print(negative_likelihood_ratio(Confusion(92, 37, 33, 352)))
    0.1202 (0.0852 to 0.1695)
    """
    return _likelihood_ratio(
        above=counts.fn,
        of_above=counts.tp + counts.fn,
        below=counts.tn,
        of_below=counts.fp + counts.tn,
        level=level,
        if_zero="no negative case is called negative",
    )


RateName = Literal[
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "accuracy",
    "balanced_accuracy",
    "f1",
    "mcc",
    "positive_likelihood_ratio",
    "negative_likelihood_ratio",
]

_PROPORTIONS: dict[RateName, Callable[..., Estimate]] = {
    "sensitivity": sensitivity,
    "specificity": specificity,
    "ppv": ppv,
    "npv": npv,
    "accuracy": accuracy,
}
_OTHERS: dict[RateName, Callable[..., Estimate]] = {
    "balanced_accuracy": balanced_accuracy,
    "f1": f1,
    "mcc": mcc,
    "positive_likelihood_ratio": positive_likelihood_ratio,
    "negative_likelihood_ratio": negative_likelihood_ratio,
}


def threshold_rates(
    counts: Confusion, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> dict[RateName, Estimate]:
    """All rates of a confusion table by name.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.
    interval
        Interval of the five proportions: ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    dict
        Estimate by name of the rate. References: see the function of that name.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1, or the interval is unknown.

    Examples
    --------
    >>> round(threshold_rates(Confusion(92, 37, 33, 352))["npv"].value, 4)
    0.736
    """
    names: tuple[RateName, ...] = (*_PROPORTIONS, *_OTHERS)
    return {name: rate_by_name(name, counts, level=level, interval=interval) for name in names}


def rate_by_name(
    name: RateName, counts: ConfusionCounts, *, level: float, interval: ProportionInterval
) -> Estimate:
    """One rate of a table by its name, see `threshold_rates`; counts may be effective counts.

    Examples
    --------
    >>> counts = Confusion(92, 37, 33, 352)
    >>> round(rate_by_name("npv", counts, level=0.95, interval="wilson").value, 4)
    0.736
    """
    if name in _PROPORTIONS:
        return _PROPORTIONS[name](counts, level=level, interval=interval)
    return _OTHERS[name](counts, level=level)


def _phi(tn: float, fp: float, fn: float, tp: float) -> float | None:
    """Matthews correlation, which is φ of the table; None if a margin is 0."""
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    if margins == 0:
        return None
    if fp == 0 and fn == 0:
        return 1.0  # exactly: the rounded square root below could give more than 1
    if tp == 0 and tn == 0:
        return -1.0
    return (tp * tn - fp * fn) / math.sqrt(margins)


def _phi_error(tn: float, fp: float, fn: float, tp: float) -> float:
    """Large-sample standard error of φ in a multinomial table (Bishop et al. 1975)."""
    n = tn + fp + fn + tp
    phi = (tp * tn - fp * fn) / math.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    truth, other_truth = (tp + fn) / n, (tn + fp) / n
    call, other_call = (tp + fp) / n, (tn + fn) / n
    truth_product, call_product = truth * other_truth, call * other_call
    variance = (
        1
        - phi**2
        + phi
        * (1 + phi**2 / 2)
        * (truth - other_truth)
        * (call - other_call)
        / math.sqrt(truth_product * call_product)
        - 0.75
        * phi**2
        * ((truth - other_truth) ** 2 / truth_product + (call - other_call) ** 2 / call_product)
    )
    return math.sqrt(max(variance, 0.0) / n)


def _likelihood_ratio(
    above: float, of_above: float, below: float, of_below: float, level: float, if_zero: str
) -> Estimate:
    """(above / of_above) / (below / of_below); log-normal interval of Simel et al. 1991."""
    method = f"log likelihood ratio, normal, {percent(level)}"
    if of_above == 0 or of_below == 0:
        return Estimate.undefined(method, "only one class is present")
    if below == 0:
        return Estimate.undefined(method, if_zero)
    if above == 0:
        return Estimate.without_interval(
            0.0, method, "the ratio is 0: its logarithm has no interval"
        )
    ratio = (above / of_above) / (below / of_below)
    # Standard error of the logarithm of a ratio of two independent proportions.
    error = math.sqrt(1 / above - 1 / of_above + 1 / below - 1 / of_below)
    if error == 0:
        return Estimate.without_interval(
            ratio, method, "all cases are called alike: the logarithm has no variance"
        )
    half = two_sided_z(level) * error
    return Estimate(
        value=ratio, low=ratio * math.exp(-half), high=ratio * math.exp(half), method=method
    )
