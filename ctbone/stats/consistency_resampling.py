"""Consistency resampling: the calibration error that a calibrated model would show by chance."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ctbone.stats.inputs import Floats, Ints, percent
from ctbone.stats.resampling import CHUNK


def consistency_resamples(
    p: Floats, patients: Ints | None, *, replicates: int, seed: int
) -> Iterator[Floats]:
    """Draw outcomes from the probabilities, in pieces of bounded memory.

    With several cases per patient, one random number is used for all cases of a patient. This is
    the strongest dependence that the probabilities allow, and therefore gives the largest error by
    chance.

    Parameters
    ----------
    p
        Probabilities, shape (n,).
    patients
        Patient number of each case, shape (n,); None if the cases are independent.
    replicates
        Number of draws of all outcomes.
    seed
        Seed; the random stream is independent of that of the bootstrap with the same seed.

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
    """Widen the interval of an error that chance explains to 0 and to the quantile of chance.

    Parameters
    ----------
    value, low, high
        Calibration error and its interval, 0–1.
    chance
        Calibration errors of the outcomes from `consistency_resamples`, shape (replicates,).
    level
        Confidence level. Chance explains an error up to the (1 + level) / 2 quantile of ``chance``.

    Returns
    -------
    low, high : float
        Unchanged if the error is above that quantile.

    Examples
    --------
    >>> import numpy as np
    >>> widen_to_chance_quantile(0.1, 0.05, 0.15, np.linspace(0, 0.2, 101), 0.95)
    (0.0, 0.195)
    """
    bound = float(np.quantile(chance, (1 + level) / 2))
    return (0.0, max(high, bound)) if value <= bound + 1e-12 else (low, high)


def chance_quantile_method(level: float) -> str:
    """Describe `widen_to_chance_quantile`, for ``method``.

    Examples
    --------
    >>> chance_quantile_method(0.95)
    'up to the 97.5% quantile of calibrated outcomes widened to 0 and to that quantile'
    """
    quantile = percent((1 + level) / 2)
    return f"up to the {quantile} quantile of calibrated outcomes widened to 0 and to that quantile"
