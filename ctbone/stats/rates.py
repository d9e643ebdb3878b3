"""Sensitivity, specificity, predictive values and accuracy, and all rates of a table by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ctbone.stats.combined_rates import balanced_accuracy, f1, mcc
from ctbone.stats.confusion_table import Confusion, Counts
from ctbone.stats.estimate import Estimate
from ctbone.stats.likelihood_ratios import negative_likelihood_ratio, positive_likelihood_ratio
from ctbone.stats.proportions import ProportionInterval, proportion


def sensitivity(
    counts: Counts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Share of the positive cases that are called positive (recall), with the interval of a proportion.

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
        0–1; undefined where there is no positive case.

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
    counts: Counts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Share of the negative cases that are called negative, with the interval of a proportion.

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
        0–1; undefined where there is no negative case.

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
    counts: Counts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Positive predictive value (precision): share of the positive calls that are right.

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
        0–1; undefined where no case is called positive.

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
    counts: Counts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Negative predictive value: share of the negative calls that are right.

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
        0–1; undefined where no case is called negative.

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
    counts: Counts, *, level: float = 0.95, interval: ProportionInterval = "wilson"
) -> Estimate:
    """Share of the cases that are called right.

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
        0–1; undefined where there is no case.

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
        Of the five proportions: ``"wilson"`` or ``"clopper-pearson"``.

    Returns
    -------
    dict
        Name of the rate to its Estimate; the source of each stands with the function of that name.

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
    return {name: rate(name, counts, level=level, interval=interval) for name in names}


def rate(name: RateName, counts: Counts, *, level: float, interval: ProportionInterval) -> Estimate:
    """One rate of a table, of whole counts or of counts divided by a design effect; see `threshold_rates`.

    Examples
    --------
    >>> round(rate("npv", Confusion(92, 37, 33, 352), level=0.95, interval="wilson").value, 4)
    0.736
    """
    if name in _PROPORTIONS:
        return _PROPORTIONS[name](counts, level=level, interval=interval)
    return _OTHERS[name](counts, level=level)
