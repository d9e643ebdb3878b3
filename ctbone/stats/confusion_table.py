"""Confusion table: the two-by-two table of a decision at a threshold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.inputs import checked_pair


class ConfusionCounts(Protocol):
    """The four cells that a rate uses: counts, or counts divided by a design effect."""

    @property
    def tn(self) -> float:
        """True negatives."""

    @property
    def fp(self) -> float:
        """False positives."""

    @property
    def fn(self) -> float:
        """False negatives."""

    @property
    def tp(self) -> float:
        """True positives."""


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
            raise StatsError(
                "a count is negative", found=self.as_dict(), expected="counts of 0 or more"
            )

    @property
    def n(self) -> int:
        """Number of cases."""
        return self.tn + self.fp + self.fn + self.tp

    def as_dict(self) -> dict[str, int]:
        """Return ``{tn, fp, fn, tp}``."""
        return {"tn": self.tn, "fp": self.fp, "fn": self.fn, "tp": self.tp}

    def __add__(self, other: Confusion) -> Confusion:
        return Confusion(
            tn=self.tn + other.tn,
            fp=self.fp + other.fp,
            fn=self.fn + other.fn,
            tp=self.tp + other.tp,
        )


def confusion(y: ArrayLike, p: ArrayLike, threshold: float = 0.5) -> Confusion:
    """Confusion table of the rule "positive if p ≥ threshold".

    Parameters
    ----------
    y
        Labels, shape (n,), 1 for the positive class.
    p
        Scores, shape (n,), any scale.
    threshold
        Threshold on the scale of the scores.

    Returns
    -------
    Confusion

    Raises
    ------
    StatsError
        If labels or scores are missing or differ in length, or the threshold is NaN.

    References
    ----------
    Altman & Bland, BMJ 1994;308:1552.

    Examples
    --------
    >>> confusion([0, 0, 1, 1], [0.2, 0.5, 0.5, 0.9])
    Confusion(tn=1, fp=1, fn=0, tp=2)
    """
    labels, scores = checked_pair(y, p)
    if math.isnan(threshold):
        raise StatsError(
            "the threshold is missing", found="NaN", expected="a number on the scale of the scores"
        )
    called = scores >= threshold
    tp, fp = int((called & labels).sum()), int((called & ~labels).sum())
    positives = int(labels.sum())
    return Confusion(tn=labels.size - positives - fp, fp=fp, fn=positives - tp, tp=tp)
