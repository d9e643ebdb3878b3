"""Outcomes as a calibrated model would see them, so that an error of calibration is told from chance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ctbone.stats.inputs import Floats, Ints, percent
from ctbone.stats.resampling import CHUNK


def consistency_resamples(
    p: Floats, patients: Ints | None, *, replicates: int, seed: int
) -> Iterator[Floats]:
    """Draw outcomes from the probabilities themselves; in pieces that fit the memory.

    Where patients have several cases, one random number serves all cases of a patient: they depend on one another as
    much as the probabilities allow, which makes chance look as large as it can be.

    Parameters
    ----------
    p
        Probabilities, shape (n,).
    patients
        Number of each case's patient, shape (n,); None where each case is a patient.
    replicates
        How many times the outcomes are drawn.
    seed
        Of the draw, which is another stream than that of the resamples.

    Yields
    ------
    numpy.ndarray of float64, shape (some replicates, n)
        0 or 1.

    References
    ----------
    Bröcker & Smith, Weather and Forecasting 2007;22:651 (consistency resampling).

    Examples
    --------
    >>> import numpy as np
    >>> next(consistency_resamples(np.array([0.0, 1.0]), None, replicates=2, seed=0))
    array([[0., 1.],
           [0., 1.]])
    """
    rng = np.random.default_rng([seed, 1])
    units = p.size if patients is None else int(patients.max()) + 1
    step = max(1, CHUNK // p.size)
    for start in range(0, replicates, step):
        numbers = rng.random((min(step, replicates - start), units))
        yield ((numbers if patients is None else numbers[:, patients]) < p).astype(np.float64)


def widen_to_chance_quantile(
    value: float, low: float, high: float, chance: Floats, level: float
) -> tuple[float, float]:
    """Take 0, and what chance makes of it, into the interval of an error that chance may explain.

    Parameters
    ----------
    value, low, high
        The error and its interval, 0–1.
    chance
        The error in draws of `consistency_resamples`.
    level
        Confidence level. Up to the quantile (1 + level) / 2 of the draws the error may be chance.

    Returns
    -------
    low, high : float
        Untouched where the error is above that quantile.

    Examples
    --------
    >>> import numpy as np
    >>> widen_to_chance_quantile(0.1, 0.05, 0.15, np.linspace(0, 0.2, 101), 0.95)
    (0.0, 0.195)
    """
    bound = float(np.quantile(chance, (1 + level) / 2))
    return (0.0, max(high, bound)) if value <= bound + 1e-12 else (low, high)


def chance_quantile_method(level: float) -> str:
    """Say for a method what `widen_to_chance_quantile` does.

    Examples
    --------
    >>> chance_quantile_method(0.95)
    'up to the 97.5% quantile of calibrated outcomes widened to 0 and to that quantile'
    """
    return f"up to the {percent((1 + level) / 2)} quantile of calibrated outcomes widened to 0 and to that quantile"
