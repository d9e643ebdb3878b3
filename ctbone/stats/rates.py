"""Rates of a two-by-two table: sensitivity, specificity, F1, MCC, likelihood ratios and others."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np

from ctbone.stats.confusion_table import Confusion, ConfusionCounts
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.fewest import FEWEST_CASES
from ctbone.stats.inputs import percent
from ctbone.stats.proportions import ProportionInterval, proportion, wilson_limits

_DRAWS = 10_000  # of a posterior; the limits then vary by about 1 % of the width of the interval


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
    """Matthews correlation coefficient with its Jeffreys interval.

    The interval is that of the posterior distribution of the four cells' probabilities with
    Jeffreys' prior, a Dirichlet distribution with the counts plus ½, by simulation with a fixed
    seed. (Large-sample errors of the coefficient are too small if few cases are called positive:
    intervals from them cover it in 65 to 86 % of samples.)

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
    Matthews, Biochim Biophys Acta 1975;405:442. Tötsch & Hoffmann, PeerJ Comput Sci 2021;7:e398
    (Dirichlet posterior). Brown, Cai & DasGupta, Stat Sci 2001;16:101 (Jeffreys' prior).

    Examples
    --------
    >>> print(mcc(Confusion(92, 37, 33, 352)))
    0.6341 (0.5508 to 0.7057)
    """
    method = f"Jeffreys interval {percent(level)} (Dirichlet posterior, {_DRAWS} draws)"
    cells = (float(counts.tn), float(counts.fp), float(counts.fn), float(counts.tp))
    value = _phi(*cells)
    if value is None:
        return Estimate.undefined(method, "a class, or a call, is absent")
    rng = np.random.default_rng(0)
    # Gamma variables are those of the Dirichlet distribution up to their sum, which φ divides out.
    tn, fp, fn, tp = (rng.standard_gamma(cell + 0.5, _DRAWS) for cell in cells)
    draws = (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Estimate(value=value, low=min(low, value), high=max(high, value), method=method)


def positive_likelihood_ratio(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """Positive likelihood ratio: sensitivity / (1 − specificity), with its score interval.

    Undefined if no negative case is called positive; no interval if a class has fewer than five
    cases, or fewer than five are called positive.

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
    Koopman, Biometrics 1984;40:513 (score interval of a ratio). Simel, Samsa & Matchar, J Clin
    Epidemiol 1991;44:763.

    Examples
    --------
    >>> print(positive_likelihood_ratio(Confusion(92, 37, 33, 352)))
    3.1876 (2.4650 to 4.2426)
    """
    return _likelihood_ratio(
        above=counts.tp,
        of_above=counts.tp + counts.fn,
        below=counts.fp,
        of_below=counts.fp + counts.tn,
        level=level,
        call="positive",
    )


def negative_likelihood_ratio(counts: ConfusionCounts, *, level: float = 0.95) -> Estimate:
    """Negative likelihood ratio: (1 − sensitivity) / specificity, with its score interval.

    Undefined if no negative case is called negative; no interval if a class has fewer than five
    cases, or fewer than five are called negative.

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
    Koopman, Biometrics 1984;40:513 (score interval of a ratio). Simel, Samsa & Matchar, J Clin
    Epidemiol 1991;44:763.

    Examples
    --------
    >>> print(negative_likelihood_ratio(Confusion(92, 37, 33, 352)))
    0.1202 (0.0851 to 0.1688)
    """
    return _likelihood_ratio(
        above=counts.fn,
        of_above=counts.tp + counts.fn,
        below=counts.tn,
        of_below=counts.fp + counts.tn,
        level=level,
        call="negative",
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

PROPORTIONS: dict[RateName, Callable[..., Estimate]] = {
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
    names: tuple[RateName, ...] = (*PROPORTIONS, *_OTHERS)
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
    if name in PROPORTIONS:
        return PROPORTIONS[name](counts, level=level, interval=interval)
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


def _likelihood_ratio(
    *, above: float, of_above: float, below: float, of_below: float, level: float, call: str
) -> Estimate:
    """(above / of_above) / (below / of_below) with Koopman's score interval."""
    method = f"Koopman's score interval {percent(level)}"
    if of_above == 0 or of_below == 0:
        return Estimate.undefined(method, "only one class is present")
    if below == 0:
        return Estimate.undefined(method, f"no negative case is called {call}")
    ratio = (above / of_above) / (below / of_below)
    if min(of_above, of_below) < FEWEST_CASES:
        return Estimate.without_interval(
            ratio, method, f"a class has fewer than {FEWEST_CASES} cases"
        )
    if above + below < FEWEST_CASES:
        return Estimate.without_interval(
            ratio, method, f"fewer than {FEWEST_CASES} cases are called {call}"
        )
    bound = two_sided_z(level) ** 2

    def beyond(log_ratio: float) -> bool:
        """Whether the score test rejects a ratio (Koopman 1984, equation 2.1)."""
        tested = math.exp(log_ratio)
        # The proportions that are most likely if their ratio is ``tested``: root of a quadratic.
        a = (of_above + of_below) * tested
        b = of_above * tested + above + of_below + below * tested
        second = (b - math.sqrt(max(0.0, b * b - 4 * a * (above + below)))) / (2 * a)
        first = tested * second
        variance = first * (1 - first) / of_above + tested**2 * second * (1 - second) / of_below
        gap = above / of_above - tested * below / of_below
        return gap**2 > bound * variance

    centre = math.log(ratio) if above else math.log(0.25 / of_above / (below / of_below))
    low = math.exp(_boundary(beyond, inside=centre, outside=centre - 30)) if above else 0.0
    high = math.exp(_boundary(beyond, inside=centre, outside=centre + 30))
    return Estimate(value=ratio, low=low, high=high, method=method)


def _boundary(beyond: Callable[[float], bool], *, inside: float, outside: float) -> float:
    """Boundary between a point of the interval and one outside it, by bisection."""
    for _ in range(50):  # halves 30 to 3e-14 on the log scale
        middle = (inside + outside) / 2
        if beyond(middle):
            outside = middle
        else:
            inside = middle
    return (inside + outside) / 2
