"""Find outlying cases, measure by measure, by the robust z score."""

from __future__ import annotations

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
        values = table[name].to_numpy(dtype=float)
        if name in lengths:
            values = np.log(np.where(values > 0, values, np.nan))
        for row, z in enumerate(robust_z(values)):
            if abs(z) > LIMIT:
                found[row].append(f"{name} {'high' if z > 0 else 'low'} (z {z:.1f})")
    return found
