"""Loess: local regression of an outcome on one covariate, written as a weighted sum so that its error is known."""

from __future__ import annotations

import numpy as np

from ctbone.errors import StatsError
from ctbone.stats.inputs import Floats


def loess_weights(
    x: Floats, cases: Floats, at: Floats, *, span: float = 0.75, degree: int = 2
) -> Floats:
    """Weights with which local regression sums up the outcomes: ``curve = weights @ outcome_sums``.

    Around each point a polynomial is fitted to the nearest cases, tricube-weighted. The
    neighbourhood reaches to the ⌊span · n⌋-th nearest of the n cases (at least the degree + 1st).
    The defaults are those of R's ``loess``, of which this is the direct computation (``surface =
    "direct"``): no robustness iterations, no interpolation between vertices. Where the neighbours
    have too few distinct values for the degree, the flattest of the best polynomials is taken.

    Parameters
    ----------
    x
        Distinct values of the covariate, ascending, shape (values,).
    cases
        How many cases have each value, ≥ 0, shape (values,).
    at
        Where to fit, shape (points,).
    span
        Share of the cases in a neighbourhood, above 0 and up to 1.
    degree
        0, 1 or 2.

    Returns
    -------
    numpy.ndarray of float64, shape (points, values)
        To be applied to the sum of the outcomes at each value, shape (values,).

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
            "loess takes a span up to 1 and a degree up to 2", found=f"span {span}, degree {degree}"
        )
    if (np.diff(x) <= 0).any():
        raise StatsError("loess takes distinct ascending values", found="others")
    width = _bandwidth(x, cases, at, span, degree)
    # Where all neighbours sit on the point itself any positive width keeps just them; a smaller one would overflow.
    scaled = x - at[:, None]
    scaled /= np.maximum(width, 1e-200)[:, None]
    np.clip(scaled, -1, 1, out=scaled)
    # Products, not powers, and in place: numpy's pow and fresh memory cost ten times as much.
    weight = np.abs(scaled)
    weight *= weight * weight
    np.subtract(1, weight, out=weight)
    weight *= weight * weight
    constant = _constant_terms(scaled, weight, cases, degree)
    polynomial = np.repeat(constant[:, degree:], x.size, axis=1)
    for k in range(degree - 1, -1, -1):
        polynomial *= scaled
        polynomial += constant[:, k : k + 1]
    polynomial *= weight
    return polynomial


def _bandwidth(x: Floats, cases: Floats, at: Floats, span: float, degree: int) -> Floats:
    """Distance from each point to the last case of its neighbourhood."""
    total = float(cases.sum())
    size = min(total, max(degree + 1.0, float(np.floor(total * span + 1e-5))))
    cumulated = np.cumsum(cases)
    # The nearest cases lie side by side: of all runs that hold enough of them the tightest around the point.
    ends = np.searchsorted(cumulated, cumulated - cases + size, side="left")
    starts = np.flatnonzero(ends < x.size)
    first, last = x[starts], x[ends[starts]]
    return np.asarray(
        np.maximum(at[:, None] - first, last - at[:, None]).min(axis=1), dtype=np.float64
    )


def _constant_terms(scaled: Floats, weight: Floats, cases: Floats, degree: int) -> Floats:
    """Solve the local least squares: how each moment of the outcome enters the polynomial's constant term."""
    power = weight.copy()
    moments = [power @ cases]
    for _ in range(2 * degree):
        power *= scaled
        moments.append(power @ cases)
    places = np.arange(degree + 1)
    normal = np.moveaxis(np.stack(moments)[places[:, None] + places], -1, 0)
    # First row of the pseudo-inverse: it leaves out directions that too few distinct neighbours cannot tell.
    values, vectors = np.linalg.eigh(normal)
    told = values > 1e-10 * values[:, -1:]
    first = np.divide(vectors[:, 0, :], values, out=np.zeros_like(values), where=told)
    return np.asarray((vectors @ first[:, :, None])[:, :, 0], dtype=np.float64)
