"""Difference of two paired rates, such as sensitivities, tested against any null difference."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from ctbone.stats.clusters import clustered_standard_error, patient_numbers
from ctbone.stats.distributions import (
    normal_two_sided,
    student_quantile,
    student_two_sided,
)
from ctbone.stats.estimate import Comparison
from ctbone.stats.inputs import Floats, Ints, checked_labels, percent
from ctbone.stats.paired import mcnemar

_FEWEST = 5
"""Fewest patients for a variance between patients, as for AUCs."""


def paired_rate_test(
    first: ArrayLike,
    second: ArrayLike,
    *,
    null: float = 0.0,
    level: float = 0.95,
    groups: ArrayLike | None = None,
) -> Comparison:
    """Test whether two paired rates differ by another amount than ``null``.

    With one case per patient, a null of 0 is tested by McNemar's mid-p test. Any other null is
    tested by Bonett and Price's adjusted Wald statistic, so that the test agrees with the interval.
    With several cases per patient, the statistic is Student's t of the mean difference, with a
    variance between patients.

    Parameters
    ----------
    first, second
        Whether each case is called correctly, shape (n,), 0/1 or bool.
    null
        Difference that is tested, first minus second.
    level
        Confidence level of the interval of the difference.
    groups
        Patient of each case, shape (n,). Default: one case per patient.

    Returns
    -------
    Comparison
        Difference, −1 to 1, and its two-sided p-value. No test where the two never differ (null 0),
        or the patients do not vary, or there are fewer than five patients with several cases.

    Raises
    ------
    StatsError
        The two differ in length or hold values other than 0 and 1.

    References
    ----------
    Bonett & Price, J Educ Behav Stat 2012;37:479. Cochran, Sampling Techniques 1977, section 9A.

    Examples
    --------
    >>> first = [1, 1, 1, 1, 1, 1, 0, 1, 0, 1]
    >>> second = [1, 0, 0, 1, 0, 0, 1, 0, 0, 1]
    >>> round(paired_rate_test(first, second).p_value, 3)
    0.125
    >>> round(paired_rate_test(first, second, null=-0.1).p_value, 3)
    0.044
    """
    whole = mcnemar(first, second, level=level)
    right, other = checked_labels(first), checked_labels(second)
    patients = patient_numbers(groups, right.size)
    if patients is not None:
        differences = right.astype(float) - other.astype(float)
        return _by_patient(differences, patients, null=null, level=level)
    if null == 0:
        return whole
    n = right.size
    # Bonett & Price 2012: one case is added to both kinds of discordant cases.
    up = (int((right & ~other).sum()) + 1) / (n + 2)
    down = (int((~right & other).sum()) + 1) / (n + 2)
    z = (up - down - null) / math.sqrt((up + down - (up - down) ** 2) / (n + 2))
    return Comparison(
        difference=whole.difference,
        low=whole.low,
        high=whole.high,
        statistic=z,
        p_value=normal_two_sided(z),
        method=f"adjusted Wald of paired rates, Bonett–Price {percent(level)}",
    )


def _by_patient(differences: Floats, patients: Ints, null: float, level: float) -> Comparison:
    count = int(patients.max()) + 1
    mean = float(differences.mean())
    method = f"paired rates by patient, Student's t (df {count - 1}) {percent(level)}"
    if count < _FEWEST:
        why = f"fewer than {_FEWEST} patients: too few for a variance"
        return Comparison.without_interval(mean, method, why)
    error = clustered_standard_error(differences - mean, patients)
    # If nothing varies, rounding leaves an error of about 1e-16.
    if error is None or error < 1e-12:
        return Comparison.without_interval(mean, method, "the patients do not vary")
    half = student_quantile(0.5 + level / 2, count - 1) * error
    t = (mean - null) / error
    return Comparison(
        difference=mean,
        low=float(np.maximum(-1.0, mean - half)),
        high=float(np.minimum(1.0, mean + half)),
        statistic=t,
        p_value=student_two_sided(t, count - 1),
        method=method,
    )
