"""Rates that combine both kinds of error: balanced accuracy, F1, Matthews correlation."""

from __future__ import annotations

import math

from ctbone.stats.confusion_table import Counts
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import percent
from ctbone.stats.proportions import wilson_limits


def balanced_accuracy(counts: Counts, *, level: float = 0.95) -> Estimate:
    """Mean of sensitivity and specificity; Wilson's limits of the two combined by squares (MOVER).

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        0–1; undefined where a class has no case.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Zou & Donner, Stat Med 2008;27:1693.

    Examples
    --------
    >>> from ctbone.stats import Confusion
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
    low = value - math.hypot(sensitivity - se_low, specificity - sp_low) / 2
    high = value + math.hypot(se_high - sensitivity, sp_high - specificity) / 2
    return Estimate(value, low, high, method)


def f1(counts: Counts, *, level: float = 0.95) -> Estimate:
    """F1 of the positive class; Wilson's interval of TP / (TP + FP + FN), transformed.

    F1 = 2J / (1 + J) with J = TP / (TP + FP + FN), the share of right calls among all cases but the true negatives;
    the transformation is monotone and takes the limits with it.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        0–1; undefined where no case is positive or called positive.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Lam, Gopal & Qian, arXiv:2309.14621 (Wilson indirect).

    Examples
    --------
    >>> from ctbone.stats import Confusion
    >>> print(f1(Confusion(92, 37, 33, 352)))
    0.9096 (0.8862 to 0.9285)
    """
    method = f"Wilson, indirect, {percent(level)}"
    concerned = counts.tp + counts.fp + counts.fn
    if concerned == 0:
        return Estimate.undefined(method, "no case is positive or called positive")
    shares = (counts.tp / concerned, *wilson_limits(counts.tp, concerned, level))
    value, low, high = (2 * share / (1 + share) for share in shares)
    return Estimate(value, low, high, method)


def mcc(counts: Counts, *, level: float = 0.95) -> Estimate:
    """Matthews correlation coefficient; delta method on Fisher's z, multinomial counts.

    Where a perfect (or perfectly wrong) table leaves no variance, the interval comes from the table with ½ added to
    each cell, and ``method`` says so.

    Parameters
    ----------
    counts
        Confusion table.
    level
        Confidence level.

    Returns
    -------
    Estimate
        −1 to 1; undefined where a class, or a call, is absent.

    Raises
    ------
    StatsError
        If the level is not strictly between 0 and 1.

    References
    ----------
    Matthews, Biochim Biophys Acta 1975;405:442. Bishop, Fienberg & Holland, Discrete Multivariate Analysis 1975,
    section 11.3 (variance of φ). Itaya et al., arXiv:2405.12622 (Fisher's z).

    Examples
    --------
    >>> from ctbone.stats import Confusion
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
    return Estimate(value, -1.0 if value == -1 else low, 1.0 if value == 1 else high, method)


def _phi(tn: float, fp: float, fn: float, tp: float) -> float | None:
    margins = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    if margins == 0:
        return None
    if fp == 0 and fn == 0:
        return 1.0  # the square root of the margins may round past it
    if tp == 0 and tn == 0:
        return -1.0
    return (tp * tn - fp * fn) / math.sqrt(margins)


def _phi_error(tn: float, fp: float, fn: float, tp: float) -> float:
    """Large-sample standard error of φ in a multinomial table."""
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
