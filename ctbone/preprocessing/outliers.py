"""Find outlying cases, measure by measure, by the robust z score, and rank them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

LIMIT = 3.5
"""|z| from which a value is an outlier (Iglewicz & Hoaglin 1993)."""
FEWEST = 8
"""Number of cases below which no outliers are sought."""


def robust_z(values: np.ndarray) -> np.ndarray:
    """Return how many robust standard deviations each value lies from the median.

    The deviation is 1.4826 times the median absolute deviation; where that is zero, because half of
    the values are equal, 1.2533 times the mean absolute deviation. Both factors make it the
    standard deviation of normal values.

    Parameters
    ----------
    values
        (n,); NaN is ignored.

    Returns
    -------
    numpy.ndarray
        (n,); NaN where the value is NaN, or where there are fewer than eight values; 0 where all
        are equal.

    References
    ----------
    Iglewicz & Hoaglin, "How to detect and handle outliers", ASQC Quality Press 1993.

    Examples
    --------
    >>> robust_z(np.array([1.0, 2, 3, 4, 5, 6, 7, 8, 100])).round(1)
    array([-1.3, -1. , -0.7, -0.3,  0. ,  0.3,  0.7,  1. , 32. ])
    """
    known = values[~np.isnan(values)]
    if len(known) < FEWEST:
        return np.full(len(values), np.nan)
    away = np.abs(known - np.median(known))
    deviation = 1.4826 * np.median(away) or 1.2533 * away.mean()
    return (
        (values - np.median(known)) / deviation
        if deviation
        else np.where(np.isnan(values), np.nan, 0.0)
    )


def outliers(
    table: pd.DataFrame, lengths: tuple[str, ...], numbers: tuple[str, ...]
) -> list[list[str]]:
    """Name for each row the measures in which it is an outlier.

    Parameters
    ----------
    table
        One row a case.
    lengths
        Columns of positive measures that vary by factors (volumes, lengths): the logarithm is used.
    numbers
        Columns that are used as they are.

    Returns
    -------
    list
        For each row its outliers, such as ``lesion_ml high (z 4.2)``.
    """
    found: list[list[str]] = [[] for _ in range(len(table))]
    for name in (*lengths, *numbers):
        for row, z in enumerate(_z(table, name, name in lengths)):
            if abs(z) > LIMIT:
                found[row].append(f"{name} {'high' if z > 0 else 'low'} (z {z:.1f})")
    return found


FLAGGED_SHARE = 20
"""At most one case in so many is flagged; where most are flagged, nothing is."""


def ranks(
    findings: Sequence[int], farthest: Sequence[float], impossible: Sequence[int]
) -> list[int]:
    """Rank cases: impossible values first, then the most findings, then the largest |z|.

    Parameters
    ----------
    findings
        Number of findings of each case.
    farthest
        Largest |z| of each case; NaN where there is none.
    impossible
        Number of impossible values of each case.

    Returns
    -------
    list
        From 1, the case to look at first; equal cases in their order.

    Examples
    --------
    >>> ranks([0, 2, 1], [0.5, 4.0, 9.0], [0, 0, 1])
    [3, 2, 1]
    """
    sizes = np.nan_to_num(np.asarray(farthest, dtype=float))
    order = np.lexsort((-sizes, -np.asarray(findings), -np.asarray(impossible)))
    found = np.empty(len(order), dtype=int)
    found[order] = np.arange(1, len(order) + 1)
    return found.tolist()


def flagged(
    ranked: Sequence[int], findings: Sequence[int], impossible: Sequence[int]
) -> list[bool]:
    """Flag every case with an impossible value, and the first by rank that have findings.

    With fewer than twenty cases one is flagged, otherwise at most one in twenty.

    Examples
    --------
    >>> flagged([1, 2, 3], [2, 1, 0], [0, 0, 0])
    [True, False, False]
    """
    most = max(1, len(ranked) // FLAGGED_SHARE)
    return [
        wrong > 0 or (count > 0 and rank <= most)
        for rank, count, wrong in zip(ranked, findings, impossible, strict=True)
    ]


def farthest_z(
    table: pd.DataFrame, lengths: tuple[str, ...], numbers: tuple[str, ...]
) -> np.ndarray:
    """Return the largest |z| of each row over the measures; NaN with fewer than eight rows."""
    if not len(table):
        return np.empty(0)
    found = [np.abs(_z(table, name, name in lengths)) for name in (*lengths, *numbers)]
    return np.where(np.isnan(found).all(axis=0), np.nan, np.nan_to_num(found).max(axis=0))


def _z(table: pd.DataFrame, name: str, logarithm: bool) -> np.ndarray:
    values = table[name].to_numpy(dtype=float)
    return robust_z(np.log(np.where(values > 0, values, np.nan)) if logarithm else values)
