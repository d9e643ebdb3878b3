"""Clustered data (several cases per patient): sums by patient, standard errors, design effects."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.distributions import student_quantile, two_sided_z
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import Floats, Ints, checked_groups, percent

ONE_PATIENT = "one patient has no variance"


def patient_numbers(groups: ArrayLike | None, n: int) -> Ints | None:
    """Return the patient number of each case, or None if the cases are independent.

    Cases are independent if there are no groups or if every patient has one case. Statistics use
    their formulas for independent cases then, so that one case per patient gives the same result as
    no groups.

    Parameters
    ----------
    groups
        Patient of each case, shape (n,), numbers or strings; None for one case per patient.
    n
        Number of cases.

    Returns
    -------
    numpy.ndarray of int64, shape (n,), or None
        0 … patients − 1.

    Raises
    ------
    StatsError
        If a patient is missing, or groups and cases differ in length.

    Examples
    --------
    >>> patient_numbers(["b", "a", "b"], 3)
    array([1, 0, 1])
    >>> print(patient_numbers(["b", "a", "c"], 3))
    None
    """
    if groups is None:
        return None
    patients = checked_groups(groups, n)
    return patients if patients.size and int(patients.max()) + 1 < n else None


def patient_sums(influences: Floats, patients: Ints) -> Floats:
    """Sum the influences of each patient's cases.

    Parameters
    ----------
    influences
        Shape (n,), or (models, n).
    patients
        Patient number of each case, shape (n,), 0 … patients − 1.

    Returns
    -------
    numpy.ndarray of float64, shape (patients,), or (models, patients)

    Examples
    --------
    >>> import numpy as np
    >>> patient_sums(np.array([1.0, 2.0, 4.0]), np.array([1, 0, 1]))
    array([2., 5.])
    """
    if influences.ndim == 2:
        count = int(patients.max()) + 1
        rows = [np.bincount(patients, weights=row, minlength=count) for row in influences]
        return np.asarray(rows, dtype=np.float64)
    return np.asarray(np.bincount(patients, weights=influences), dtype=np.float64)


def clustered_standard_error(influences: Floats, patients: Ints) -> float | None:
    """Return the standard error of a mean of clustered cases, from the influences' sums by patient.

    Parameters
    ----------
    influences
        Deviation of each case from the mean, or its influence, shape (n,); they sum to 0.
    patients
        Patient number of each case, shape (n,).

    Returns
    -------
    float or None
        √(G / (G − 1) · Σ sum²) / n over the G patients; None if there is one patient.

    References
    ----------
    Cochran, Sampling Techniques 1977, section 9A (clusters of unequal size). Liang & Zeger,
    Biometrika 1986;73:13.

    Examples
    --------
    >>> import numpy as np
    >>> clustered_standard_error(np.array([1.0, 2.0, -1.0, -2.0]), np.array([0, 0, 1, 1]))
    1.5
    """
    sums = patient_sums(influences, patients)
    if sums.size < 2:
        return None
    return math.sqrt(sums.size / (sums.size - 1) * float((sums**2).sum())) / influences.size


def counts_by_patient(cells: Ints, patients: Ints, kinds: int) -> Ints:
    """Count each patient's cases of each kind.

    Parameters
    ----------
    cells
        Kind of each case, 0 … kinds − 1, shape (n,), such as the cell of a two-by-two table.
    patients
        Patient number of each case, shape (n,).
    kinds
        Number of kinds, such as 4.

    Returns
    -------
    numpy.ndarray of int64, shape (patients, kinds)

    Examples
    --------
    >>> import numpy as np
    >>> counts_by_patient(np.array([0, 1, 1]), np.array([0, 1, 1]), 2)
    array([[1, 0],
           [0, 2]])
    """
    count = int(patients.max()) + 1
    return np.bincount(patients * kinds + cells, minlength=count * kinds).reshape(count, kinds)


def mean_interval(
    value: float,
    influences: Floats,
    patients: Ints | None,
    level: float,
    name: str,
    limits: tuple[float, float],
) -> Estimate:
    """Interval of a mean, or of a statistic linearised as a mean, clipped to its possible range.

    The interval is normal for independent cases. By patient it uses Student's t with G − 1 degrees
    of freedom for G patients, because patients may be few even if cases are many.

    Parameters
    ----------
    value
        The mean.
    influences
        As for `clustered_standard_error`.
    patients
        Patient number of each case, shape (n,); None if the cases are independent.
    level
        Confidence level.
    name
        Name of the statistic, for ``method``.
    limits
        Lowest and highest possible value.

    Returns
    -------
    Estimate
        No interval if there is one case or one patient, or if the influences do not vary.

    References
    ----------
    Cameron & Miller, J Hum Resour 2015;50:317 (Student's t).

    Examples
    --------
    >>> import numpy as np
    >>> parts = np.array([0.1, 0.2, 0.5, 0.6, 0.2, 0.2])
    >>> print(mean_interval(0.3, parts - 0.3, np.array([0, 0, 1, 1, 2, 2]), 0.95, "mean", (0, 1)))
    0.3000 (0.0000 to 0.8414)
    """
    if patients is None:
        method = f"{name}, normal {percent(level)}"
        if influences.size < 2:
            return Estimate.without_interval(value, method, "one case has no variance")
        error: float | None = float(influences.std(ddof=1)) / math.sqrt(influences.size)
        quantile = two_sided_z(level)
    else:
        method = f"{name}, by patient, Student's t {percent(level)}"
        error = clustered_standard_error(influences, patients)
        if error is None:
            return Estimate.without_interval(value, method, ONE_PATIENT)
        quantile = student_quantile(0.5 + level / 2, int(patients.max()))
    assert error is not None
    # If nothing varies, rounding leaves an error of about 1e-16 of the summands.
    if error <= 1e-12 * max(1.0, float(np.abs(influences + value).max())):
        return Estimate.without_interval(
            value, method, f"the {'cases' if patients is None else 'patients'} do not vary"
        )
    half = quantile * error
    return Estimate(
        value=value,
        low=max(limits[0], value - half),
        high=min(limits[1], value + half),
        method=method,
    )


def kish_design_effect(by_patient: Ints, weights: Floats) -> float:
    """Kish's design effect for fully dependent cases of a patient: Σ nᵢ² / Σ nᵢ at equal weights.

    Parameters
    ----------
    by_patient
        Each patient's cases of each kind, shape (patients, kinds), as from `counts_by_patient`.
    weights
        Weight of a case of each kind, shape (kinds,), ≥ 0.

    Returns
    -------
    float
        From 1 (one case per patient, or no case) to the number of cases (a single patient).

    References
    ----------
    Kish, Survey Sampling 1965, section 5.4, at an intraclass correlation of 1.

    Examples
    --------
    >>> import numpy as np
    >>> kish_design_effect(np.array([[1, 0], [1, 2]]), np.ones(2))
    2.5
    """
    alone = float(by_patient.sum(axis=0) @ weights**2)
    return float(((by_patient @ weights) ** 2).sum()) / alone if alone > 0 else 1.0


def design_effect(statistic: Callable[[Floats], Floats], by_patient: Ints) -> float | None:
    """Design effect: jackknife variance over patients divided by jackknife variance over cases.

    Leaving out either of two patients with equal counts gives the same value, so that each distinct
    row of counts is computed once.

    Parameters
    ----------
    statistic
        Maps tables of counts, shape (tables, kinds), to values, shape (tables,); NaN or infinite if
        undefined.
    by_patient
        Each patient's counts, as from `counts_by_patient`.

    Returns
    -------
    float or None
        ≥ 0. None if the statistic does not vary between cases (a rate of 0 or 1) or is undefined
        after leaving out one of the patients.

    References
    ----------
    Rao & Scott, Biometrics 1992;48:577 (design effect). Miller, Biometrika 1974;61:1 (jackknife).

    Examples
    --------
    >>> import numpy as np
    >>> share = lambda tables: tables[:, 0] / tables.sum(axis=1)
    >>> round(design_effect(share, np.array([[2, 0], [0, 2], [2, 0], [0, 2]])), 3)
    2.333
    """
    if by_patient.ndim != 2 or by_patient.shape[0] == 0:
        raise StatsError(
            "counts by patient are not two-dimensional",
            found=by_patient.shape,
            expected="(patients, kinds)",
        )
    patterns, times = _distinct_rows(by_patient)
    total = by_patient.sum(axis=0)
    present = np.flatnonzero(total)
    single = np.eye(total.size, dtype=np.int64)[present]
    with np.errstate(divide="ignore", invalid="ignore"):
        between_patients = _jackknife(statistic((total - patterns).astype(np.float64)), times)
        between_cases = _jackknife(statistic((total - single).astype(np.float64)), total[present])
    # Rounding leaves about 1e-32 if nothing varies. One case in a million changes a rate by 1e-6,
    # a variance of 1e-12 or more.
    if between_patients is None or between_cases is None or between_cases < 1e-24:
        return None
    return between_patients / between_cases


def _distinct_rows(by_patient: Ints) -> tuple[Ints, Ints]:
    """Distinct rows and the count of each; ``lexsort`` is ten times faster than ``np.unique``."""
    ordered = by_patient[np.lexsort(by_patient.T)]
    first = np.flatnonzero(np.append(True, (ordered[1:] != ordered[:-1]).any(axis=1)))
    return ordered[first], np.diff(np.append(first, len(ordered)))


def _jackknife(left_out: Floats, times: Ints) -> float | None:
    """Jackknife variance of leave-one-out values, the k-th of which occurs ``times[k]`` times."""
    if not np.isfinite(left_out).all():
        return None
    count = int(times.sum())
    mean = float(times @ left_out) / count
    return (count - 1) / count * float(times @ (left_out - mean) ** 2)
