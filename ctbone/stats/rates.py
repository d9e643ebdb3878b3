"""Confusion at a threshold and the rates drawn from it, each with its interval."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from numpy.typing import ArrayLike

from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import StatsError, checked_pair, percent
from ctbone.stats.proportions import ProportionInterval, proportion, wilson_limits


@dataclass(frozen=True)
class Confusion:
    """Counts of a two-class decision.

    Parameters
    ----------
    tn, fp, fn, tp
        True negatives, false positives, false negatives, true positives.

    Examples
    --------
    >>> Confusion(tn=92, fp=37, fn=33, tp=352).n
    514
    """

    tn: int
    fp: int
    fn: int
    tp: int

    def __post_init__(self) -> None:
        if min(self.tn, self.fp, self.fn, self.tp) < 0:
            raise StatsError("a count is negative", found=self.as_dict(), expected="counts of 0 or more")

    @property
    def n(self) -> int:
        """Number of cases."""
        return self.tn + self.fp + self.fn + self.tp

    def as_dict(self) -> dict[str, int]:
        """Return ``{tn, fp, fn, tp}``."""
        return {"tn": self.tn, "fp": self.fp, "fn": self.fn, "tp": self.tp}

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(self.tn + other.tn, self.fp + other.fp, self.fn + other.fn, self.tp + other.tp)


def confusion(y: ArrayLike, p: ArrayLike, threshold: float = 0.5) -> Confusion:
    """Count the decisions of the rule "positive if p ≥ threshold".

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,), any scale.
    threshold
        On the scale of the scores.

    Raises
    ------
    StatsError
        If labels or scores are missing or do not fit together, or the threshold is NaN.

    Examples
    --------
    >>> confusion([0, 0, 1, 1], [0.2, 0.5, 0.5, 0.9])
    Confusion(tn=1, fp=1, fn=0, tp=2)
    """
    labels, scores = checked_pair(y, p)
    if math.isnan(threshold):
        raise StatsError("the threshold is missing", found="NaN", expected="a number on the scale of the scores")
    called = scores >= threshold
    tp, fp = int((called & labels).sum()), int((called & ~labels).sum())
    positives = int(labels.sum())
    return Confusion(tn=labels.size - positives - fp, fp=fp, fn=positives - tp, tp=tp)


def sensitivity(counts: Confusion, *, level: float = 0.95, interval: ProportionInterval = "wilson") -> Estimate:
    """Share of the positive cases that are called positive (recall), with the interval of a proportion.

    Examples
    --------
    >>> print(sensitivity(Confusion(92, 37, 33, 352)))
    0.9143 (0.8821 to 0.9383)
    """
    return proportion(
        counts.tp, counts.tp + counts.fn, level=level, interval=interval, empty="there is no positive case"
    )


def specificity(counts: Confusion, *, level: float = 0.95, interval: ProportionInterval = "wilson") -> Estimate:
    """Share of the negative cases that are called negative, with the interval of a proportion.

    Examples
    --------
    >>> print(specificity(Confusion(92, 37, 33, 352)))
    0.7132 (0.6299 to 0.7842)
    """
    return proportion(
        counts.tn, counts.tn + counts.fp, level=level, interval=interval, empty="there is no negative case"
    )


def ppv(counts: Confusion, *, level: float = 0.95, interval: ProportionInterval = "wilson") -> Estimate:
    """Positive predictive value (precision): share of the positive calls that are right.

    Examples
    --------
    >>> round(ppv(Confusion(92, 37, 33, 352)).value, 4)
    0.9049
    """
    return proportion(
        counts.tp, counts.tp + counts.fp, level=level, interval=interval, empty="no case is called positive"
    )


def npv(counts: Confusion, *, level: float = 0.95, interval: ProportionInterval = "wilson") -> Estimate:
    """Negative predictive value: share of the negative calls that are right.

    Examples
    --------
    >>> round(npv(Confusion(92, 37, 33, 352)).value, 4)
    0.736
    """
    return proportion(
        counts.tn, counts.tn + counts.fn, level=level, interval=interval, empty="no case is called negative"
    )


def accuracy(counts: Confusion, *, level: float = 0.95, interval: ProportionInterval = "wilson") -> Estimate:
    """Share of the cases that are called right.

    Examples
    --------
    >>> round(accuracy(Confusion(92, 37, 33, 352)).value, 4)
    0.8638
    """
    return proportion(counts.tn + counts.tp, counts.n, level=level, interval=interval, empty="there is no case")


def balanced_accuracy(counts: Confusion, *, level: float = 0.95) -> Estimate:
    """Mean of sensitivity and specificity; Wilson's limits of the two combined by squares (MOVER).

    References
    ----------
    Zou & Donner, Stat Med 2008;27:1693.

    Examples
    --------
    >>> print(balanced_accuracy(Confusion(92, 37, 33, 352)))
    0.8137 (0.7691 to 0.8512)
    """
    method = f"Wilson limits combined (MOVER), {percent(level)}"
    se, sp = sensitivity(counts, level=level), specificity(counts, level=level)
    if se.value is None or sp.value is None:
        return Estimate.undefined(method, se.why or sp.why or "")
    se_low, se_high = wilson_limits(counts.tp, counts.tp + counts.fn, level)
    sp_low, sp_high = wilson_limits(counts.tn, counts.tn + counts.fp, level)
    value = (se.value + sp.value) / 2
    low = value - math.hypot(se.value - se_low, sp.value - sp_low) / 2
    high = value + math.hypot(se_high - se.value, sp_high - sp.value) / 2
    return Estimate(value, low, high, method)


def f1(counts: Confusion, *, level: float = 0.95) -> Estimate:
    """F1 of the positive class; Wilson's interval of TP / (TP + FP + FN), transformed.

    F1 = 2J / (1 + J) with J = TP / (TP + FP + FN), the share of right calls among all cases but the true negatives;
    the transformation is monotone and takes the limits with it.

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
    return Estimate(value, low, high, method)


def mcc(counts: Confusion, *, level: float = 0.95) -> Estimate:
    """Matthews correlation coefficient; delta method on Fisher's z, multinomial counts.

    Where a perfect (or perfectly wrong) table leaves no variance, the interval comes from the table with ½ added to
    each cell, and ``method`` says so.

    References
    ----------
    Matthews, Biochim Biophys Acta 1975;405:442. Bishop, Fienberg & Holland, Discrete Multivariate Analysis 1975,
    section 11.3 (variance of φ). Itaya et al., arXiv:2405.12622 (Fisher's z).

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
    return Estimate(value, -1.0 if value == -1 else low, 1.0 if value == 1 else high, method)


def positive_likelihood_ratio(counts: Confusion, *, level: float = 0.95) -> Estimate:
    """Sensitivity over 1 − specificity, with an interval on the log scale.

    Undefined where no negative case is called positive; without interval where no positive case, or every case, is.

    References
    ----------
    Simel, Samsa & Matchar, J Clin Epidemiol 1991;44:763.

    Examples
    --------
    >>> print(positive_likelihood_ratio(Confusion(92, 37, 33, 352)))
    3.1876 (2.4241 to 4.1917)
    """
    return _likelihood_ratio(
        counts.tp, counts.tp + counts.fn, counts.fp, counts.fp + counts.tn, level, "no negative case is called positive"
    )


def negative_likelihood_ratio(counts: Confusion, *, level: float = 0.95) -> Estimate:
    """1 − sensitivity over specificity, with an interval on the log scale.

    Undefined where no negative case is called negative; without interval where no positive case, or every case, is.

    References
    ----------
    Simel, Samsa & Matchar, J Clin Epidemiol 1991;44:763.

    Examples
    --------
    >>> print(negative_likelihood_ratio(Confusion(92, 37, 33, 352)))
    0.1202 (0.0852 to 0.1695)
    """
    return _likelihood_ratio(
        counts.fn, counts.tp + counts.fn, counts.tn, counts.fp + counts.tn, level, "no negative case is called negative"
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

    Examples
    --------
    >>> round(threshold_rates(Confusion(92, 37, 33, 352))["npv"].value, 4)
    0.736
    """
    return {
        **{name: rate(counts, level=level, interval=interval) for name, rate in _PROPORTIONS.items()},
        **{name: rate(counts, level=level) for name, rate in _OTHERS.items()},
    }


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
        + phi * (1 + phi**2 / 2) * (truth - other_truth) * (call - other_call) / math.sqrt(truth_product * call_product)
        - 0.75 * phi**2 * ((truth - other_truth) ** 2 / truth_product + (call - other_call) ** 2 / call_product)
    )
    return math.sqrt(max(variance, 0.0) / n)


def _likelihood_ratio(above: int, of_above: int, below: int, of_below: int, level: float, if_zero: str) -> Estimate:
    method = f"log likelihood ratio, normal, {percent(level)}"
    if of_above == 0 or of_below == 0:
        return Estimate.undefined(method, "only one class is present")
    if below == 0:
        return Estimate.undefined(method, if_zero)
    if above == 0:
        return Estimate(0.0, None, None, method, "the ratio is 0: its logarithm has no interval")
    ratio = (above / of_above) / (below / of_below)
    error = math.sqrt(1 / above - 1 / of_above + 1 / below - 1 / of_below)
    if error == 0:
        return Estimate(ratio, None, None, method, "all cases are called alike: the logarithm has no variance")
    half = two_sided_z(level) * error
    return Estimate(ratio, ratio * math.exp(-half), ratio * math.exp(half), method)
