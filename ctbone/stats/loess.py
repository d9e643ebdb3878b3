"""Loess (local regression) on one covariate, as weights of the outcomes (a linear smoother)."""

from __future__ import annotations

import numpy as np

from ctbone.errors import StatsError
from ctbone.stats.inputs import Floats

# Tricube weight of one case at 0.999 of the width. R's loess sets weights from there on to 0.
_LEAST_WEIGHT = (1 - 0.999**3) ** 3


def loess_weights(
    x: Floats, cases: Floats, at: Floats, *, span: float = 0.75, degree: int = 2
) -> Floats:
    """Weights of the outcomes in local regression: ``curve = weights @ outcome_sums``.

    At each point a polynomial is fitted to the nearest cases with tricube weights. The
    neighbourhood extends to the ⌊span · n⌋-th nearest of the n cases (at least degree + 1 cases).
    The defaults are those of R's ``loess`` with ``surface = "direct"``: no robustness iterations,
    no interpolation between vertices. If the neighbours have too few distinct values for the
    degree, the minimum-norm solution is used. If all neighbours are at the edge of the
    neighbourhood, where the weight is 0, their mean is used (R's ``loess`` stops with an error).

    Parameters
    ----------
    x
        Distinct values of the covariate, ascending, shape (values,).
    cases
        Number of cases with each value, ≥ 0, shape (values,).
    at
        Points at which the curve is fitted, shape (points,).
    span
        Share of the cases in a neighbourhood, above 0 and at most 1.
    degree
        Degree of the polynomial: 0, 1 or 2.

    Returns
    -------
    numpy.ndarray of float64, shape (points, values)
        Weights of the sums of outcomes at each value.

    Raises
    ------
    StatsError
        If the span or the degree is out of range, or x is not ascending.

    References
    ----------
    Cleveland, Grosse & Shyu, in Chambers & Hastie, Statistical Models in S 1992, chapter 8.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.arange(10.0)
    >>> (loess_weights(x, np.ones(10), np.array([2.5, 7.0])) @ x**2).round(6)
    array([ 6.25, 49.  ])
    """
    if not 0 < span <= 1 or degree not in (0, 1, 2):
        raise StatsError(
            "loess requires a span in (0, 1] and a degree of 0, 1 or 2",
            found=f"span {span}, degree {degree}",
        )
    if (np.diff(x) <= 0).any():
        raise StatsError("the values of the covariate are not distinct and ascending")
    width = _bandwidth(x, cases, at=at, span=span, degree=degree)
    # If all neighbours are at the point itself, any positive width selects them; a width below
    # 1e-200 would overflow in the division.
    scaled = x - at[:, None]
    scaled /= np.maximum(width, 1e-200)[:, None]
    np.clip(scaled, -1, 1, out=scaled)
    # Tricube (1 − |d|³)³ with in-place products: powers and new arrays take ten times as long.
    weight = np.abs(scaled)
    weight *= weight * weight
    np.subtract(1, weight, out=weight)
    weight *= weight * weight
    weightless = np.flatnonzero(weight @ cases < _LEAST_WEIGHT)
    constant = _constant_terms(scaled, weight, cases=cases, degree=degree)
    polynomial = np.repeat(constant[:, degree:], x.size, axis=1)
    for k in range(degree - 1, -1, -1):
        polynomial *= scaled
        polynomial += constant[:, k : k + 1]
    polynomial *= weight
    # 1 + 1e-9: values on both sides of the point have equal distances up to rounding.
    edge = width[weightless, None] * (1 + 1e-9)
    neighbours = np.abs(x - at[weightless, None]) <= edge
    polynomial[weightless] = neighbours / (neighbours @ cases)[:, None]
    return polynomial


def _bandwidth(x: Floats, cases: Floats, at: Floats, span: float, degree: int) -> Floats:
    """Distance from each point to the farthest case of its neighbourhood."""
    total = float(cases.sum())
    # 1e-5 as in R's loess: span · n may round to slightly less than an integer.
    size = min(total, max(degree + 1.0, float(np.floor(total * span + 1e-5))))
    cumulated = np.cumsum(cases)
    # The nearest cases are adjacent: of all runs of enough cases take the one that is nearest.
    ends = np.searchsorted(cumulated, cumulated - cases + size, side="left")
    starts = np.flatnonzero(ends < x.size)
    first, last = x[starts], x[ends[starts]]
    return np.asarray(
        np.maximum(at[:, None] - first, last - at[:, None]).min(axis=1), dtype=np.float64
    )


def _constant_terms(scaled: Floats, weight: Floats, cases: Floats, degree: int) -> Floats:
    """Coefficients of the outcome's moments in the constant term of the local least squares fit."""
    power = weight.copy()
    moments = [power @ cases]
    for _ in range(2 * degree):
        power *= scaled
        moments.append(power @ cases)
    places = np.arange(degree + 1)
    normal = np.moveaxis(np.stack(moments)[places[:, None] + places], -1, 0)
    # First row of the pseudo-inverse, without directions that the distinct neighbours cannot
    # determine (eigenvalues below 1e-10 of the largest).
    values, vectors = np.linalg.eigh(normal)
    determined = values > 1e-10 * values[:, -1:]
    first = np.divide(vectors[:, 0, :], values, out=np.zeros_like(values), where=determined)
    return np.asarray((vectors @ first[:, :, None])[:, :, 0], dtype=np.float64)
