"""Fisher–Freeman–Halton test of independence in a table of counts of any size."""

from __future__ import annotations

import itertools
import math

import numpy as np

from ctbone.stats.estimate import TestResult
from ctbone.stats.inputs import Ints

_MOST_TABLES = 2_000_000
"""Tables up to which all of them are enumerated, about a second."""
_DRAWS = 100_000
"""Random tables beyond that: the standard error of p = .05 is 0.0007."""
_EQUAL = 1e-7
"""Relative difference below which two probabilities are equal, as in R's fisher.test."""


def freeman_halton(counts: Ints, *, seed: int = 0) -> TestResult:
    """Share of the tables with the same margins that are at most as probable as this one.

    Every table is enumerated; if they are too many, the share is that of 100,000 random tables,
    with the observed one among them, and the method says so.

    Parameters
    ----------
    counts
        Shape (rows, columns), non-negative, without empty rows and columns.
    seed
        Of the random tables.

    References
    ----------
    Freeman & Halton, Biometrika 1951;38:141. Monte-Carlo p: Davison & Hinkley, Bootstrap Methods
    and their Application, 1997, section 4.2.

    Examples
    --------
    >>> round(freeman_halton(np.array([[3, 0, 1], [0, 4, 1]])).p_value, 6)
    0.02381
    """
    observed = -_log_factorials(counts).sum()
    known = _all_tables(counts)
    if known is not None:
        shares = np.exp(known - known.max())
        chosen = known <= observed + _EQUAL
        return TestResult(
            statistic=None,
            df=None,
            p_value=min(1.0, float(shares[chosen].sum() / shares.sum())),
            method="Fisher–Freeman–Halton test, exact",
        )
    from scipy.stats import random_table

    rows, columns = counts.sum(axis=1), counts.sum(axis=0)
    drawn = random_table(rows, columns, seed=seed).rvs(_DRAWS)
    logs = -_log_factorials(drawn).sum(axis=(1, 2))
    extreme = int((logs <= observed + _EQUAL).sum())
    return TestResult(
        statistic=None,
        df=None,
        p_value=(1 + extreme) / (1 + _DRAWS),
        method=f"Fisher–Freeman–Halton test, {_DRAWS:,} random tables (Monte Carlo)",
    )


def _all_tables(counts: Ints) -> np.ndarray | None:
    """Return the log probability of every table, up to a constant; None if they are too many."""
    table = counts if counts.shape[0] <= counts.shape[1] else counts.T
    rows, columns = table.sum(axis=1), np.sort(table.sum(axis=0))
    used, logs = np.zeros((1, len(rows)), dtype=np.int64), np.zeros(1)
    for total in columns[:-1]:  # the last and largest column is what the rows lack
        if len(used) * math.comb(int(total) + len(rows) - 1, len(rows) - 1) > _MOST_TABLES:
            return None
        splits = _splits(int(total), len(rows))
        sums = used[:, None, :] + splits[None]
        kept = (sums <= rows).all(axis=2)
        logs = (logs[:, None] - _log_factorials(splits).sum(axis=1))[kept]
        used = sums[kept]
    return logs - _log_factorials(rows - used).sum(axis=1)


def _splits(total: int, parts: int) -> np.ndarray:
    """Return every way to write a total as ordered parts of 0 or more, shape (ways, parts)."""
    bars = list(itertools.combinations(range(total + parts - 1), parts - 1))
    places = np.array(bars, dtype=np.int64).reshape(len(bars), parts - 1)
    first = np.full((len(bars), 1), -1)
    last = np.full((len(bars), 1), total + parts - 1)
    return np.diff(np.hstack([first, places, last]), axis=1) - 1


def _log_factorials(counts: np.ndarray) -> np.ndarray:
    from scipy.special import gammaln

    return np.asarray(gammaln(counts + 1.0))
