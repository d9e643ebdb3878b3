"""Likelihood ratios of a positive and of a negative call."""

from __future__ import annotations

import math

from ctbone.stats.confusion_table import Counts
from ctbone.stats.distributions import two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import percent


def positive_likelihood_ratio(counts: Counts, *, level: float = 0.95) -> Estimate:
    """Sensitivity over 1 − specificity, with an interval on the log scale.

    Undefined where no negative case is called positive; without interval where no positive case, or every case, is.

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
    >>> from ctbone.stats import Confusion
    >>> print(positive_likelihood_ratio(Confusion(92, 37, 33, 352)))
    3.1876 (2.4241 to 4.1917)
    """
    return _likelihood_ratio(
        counts.tp,
        counts.tp + counts.fn,
        counts.fp,
        counts.fp + counts.tn,
        level,
        "no negative case is called positive",
    )


def negative_likelihood_ratio(counts: Counts, *, level: float = 0.95) -> Estimate:
    """1 − sensitivity over specificity, with an interval on the log scale.

    Undefined where no negative case is called negative; without interval where no positive case, or every case, is.

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
    >>> from ctbone.stats import Confusion
    >>> print(negative_likelihood_ratio(Confusion(92, 37, 33, 352)))
    0.1202 (0.0852 to 0.1695)
    """
    return _likelihood_ratio(
        counts.fn,
        counts.tp + counts.fn,
        counts.tn,
        counts.fp + counts.tn,
        level,
        "no negative case is called negative",
    )


def _likelihood_ratio(
    above: float, of_above: float, below: float, of_below: float, level: float, if_zero: str
) -> Estimate:
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
        return Estimate(
            ratio, None, None, method, "all cases are called alike: the logarithm has no variance"
        )
    half = two_sided_z(level) * error
    return Estimate(ratio, ratio * math.exp(-half), ratio * math.exp(half), method)
