"""Multiplicity: p-values adjusted for multiple comparisons by Holm or Benjamini–Hochberg."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.errors import StatsError
from ctbone.stats.inputs import Floats


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment, which controls the family-wise error rate.

    Parameters
    ----------
    p_values
        p-values, 0–1; None or NaN for an undefined test, which stays undefined and is not counted.

    Returns
    -------
    list
        Adjusted p-values in the given order.

    Raises
    ------
    StatsError
        If a p-value lies outside 0–1.

    References
    ----------
    Holm, Scand J Stat 1979;6:65.

    Examples
    --------
    >>> holm([0.01, 0.04, None, 0.03])
    [0.03, 0.06, None, 0.06]
    """
    values, defined = _defined(p_values)
    order = np.argsort(values, kind="stable")
    factors = np.arange(values.size, 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(values[order] * factors))
    return _in_given_order(stepped, order, defined)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Benjamini and Hochberg's step-up adjustment, which controls the false discovery rate.

    Parameters
    ----------
    p_values
        p-values, 0–1; None or NaN for an undefined test, which stays undefined and is not counted.

    Returns
    -------
    list
        Adjusted p-values in the given order.

    Raises
    ------
    StatsError
        If a p-value lies outside 0–1.

    References
    ----------
    Benjamini & Hochberg, J R Stat Soc B 1995;57:289.

    Examples
    --------
    >>> benjamini_hochberg([0.01, 0.04, None, 0.03])
    [0.03, 0.04, None, 0.04]
    """
    values, defined = _defined(p_values)
    order = np.argsort(values, kind="stable")
    factors = values.size / np.arange(1, values.size + 1)
    stepped = np.minimum(1.0, np.minimum.accumulate((values[order] * factors)[::-1])[::-1])
    return _in_given_order(stepped, order, defined)


def _defined(p_values: Sequence[float | None]) -> tuple[Floats, np.ndarray]:
    """Return the defined p-values and the mask of their positions, after a check of 0–1."""
    numbers = np.array([np.nan if value is None else value for value in p_values], dtype=np.float64)
    defined = ~np.isnan(numbers)
    values = numbers[defined]
    if ((values < 0) | (values > 1)).any():
        raise StatsError(
            "a p-value lies outside 0–1",
            found=values[(values < 0) | (values > 1)][0],
            expected="0–1",
        )
    return values, defined


def _in_given_order(stepped: Floats, order: np.ndarray, defined: np.ndarray) -> list[float | None]:
    """Put sorted adjusted p-values back at their positions; None for undefined tests."""
    adjusted = np.empty(stepped.size)
    adjusted[order] = stepped
    result: list[float | None] = [None] * defined.size
    for place, value in zip(np.flatnonzero(defined), adjusted, strict=True):
        result[int(place)] = float(value)
    return result
