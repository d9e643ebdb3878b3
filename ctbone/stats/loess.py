"""Loess: local regression of an outcome on one covariate, with the weights that make its standard error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ctbone.stats.inputs import Floats, StatsError


@dataclass(frozen=True)
class LoessFit:
    """A local regression at given points.

    Parameters
    ----------
    value
        Fitted value at each point, shape (points,).
    smoother
        Linear weights, shape (points, n): ``value = smoother @ outcome``.
    """

    value: Floats
    smoother: Floats


def loess(x: Floats, outcome: Floats, at: Floats, *, span: float = 0.75, degree: int = 2) -> LoessFit:
    """Fit a polynomial around each point to its nearest neighbours, tricube-weighted.

    The neighbourhood of a point holds ⌊span · n⌋ cases (at least degree + 1, and every case as near as the farthest
    of them takes part with weight 0). The defaults are those of R's ``loess``, of which this is the direct
    computation (``surface = "direct"``): no robustness iterations, no interpolation between vertices. Where the
    neighbours have too few distinct values for the degree, the flattest of the best polynomials is taken.

    Parameters
    ----------
    x
        Covariate, shape (n,), ascending.
    outcome
        Shape (n,).
    at
        Where to fit, shape (points,).
    span
        Share of the cases in a neighbourhood, above 0 and up to 1.
    degree
        0, 1 or 2.

    Returns
    -------
    LoessFit

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
    >>> loess(x, x**2, np.array([2.5, 7.0])).value.round(6)
    array([ 6.25, 49.  ])
    """
    if not 0 < span <= 1 or degree not in (0, 1, 2):
        raise StatsError("loess takes a span up to 1 and a degree up to 2", found=f"span {span}, degree {degree}")
    if (np.diff(x) < 0).any():
        raise StatsError("loess takes an ascending covariate", found="an unsorted one")
    n = x.size
    size = min(n, max(degree + 1, int(np.floor(n * span + 1e-5))))
    width = _bandwidth(x, at, size)
    # Where all neighbours sit on the point itself any positive width keeps just them.
    scaled = (x[None, :] - at[:, None]) / np.where(width > 0, width, 1e-300)[:, None]
    weight = np.clip(1 - np.abs(np.clip(scaled, -1, 1)) ** 3, 0, None) ** 3
    return _solve(scaled, weight, outcome, degree)


def _bandwidth(x: Floats, at: Floats, size: int) -> Floats:
    """Distance from each point to its size-th nearest value of the ascending x."""
    first, last = x[: x.size - size + 1], x[size - 1 :]
    # The nearest values are neighbours in order: of all runs of this length the tightest around the point.
    return np.maximum(at[:, None] - first[None, :], last[None, :] - at[:, None]).min(axis=1)


def _solve(scaled: Floats, weight: Floats, outcome: Floats, degree: int) -> LoessFit:
    """Local weighted least squares; the fit at the point is the constant term."""
    inside = np.where(weight > 0, scaled, 0.0)
    powers = [weight]
    for _ in range(2 * degree):
        powers.append(powers[-1] * inside)
    moments = np.stack([power.sum(axis=1) for power in powers])
    places = np.arange(degree + 1)
    normal = np.moveaxis(moments[places[:, None] + places[None, :]], -1, 0)
    # The pseudo-inverse leaves out directions that too few distinct neighbours cannot tell.
    constant = np.linalg.pinv(normal, rcond=1e-10, hermitian=True)[:, 0, :]
    smoother = np.einsum("pk,kpn->pn", constant, np.stack(powers[: degree + 1]))
    return LoessFit(smoother @ outcome, smoother)
