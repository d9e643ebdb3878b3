"""Statistics of more than two classes: one-vs-rest AUC, F1, Brier, top-label ECE, chosen errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.binned_calibration import ece
from ctbone.stats.bootstrap import WeightedStatistic, bootstrap_estimate
from ctbone.stats.clustered_rates import adjusted_design_effect, clustered_proportion
from ctbone.stats.clusters import counts_by_patient, mean_interval, patient_numbers
from ctbone.stats.estimate import Estimate
from ctbone.stats.fewest import FEWEST_CASES
from ctbone.stats.inputs import (
    Floats,
    Ints,
    checked_classes,
    checked_groups,
    class_name,
    percent,
)
from ctbone.stats.proportions import ProportionInterval, wilson_limits
from ctbone.stats.resampling import weighted_auc

ClassAverage: TypeAlias = Literal["macro", "weighted"]


def confusion_matrix(y: ArrayLike, P: ArrayLike) -> Ints:
    """Confusion matrix: true class (rows), class of the highest probability (columns).

    If several classes have the highest probability, the first of them is called.

    Parameters
    ----------
    y
        True class of each case as its column in ``P``, shape (n,), 0 … classes − 1.
    P
        Probabilities, shape (n, classes), each row summing to 1 (within 0.01, for rounded tables).

    Returns
    -------
    numpy.ndarray of int64, shape (classes, classes)

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid.

    References
    ----------
    Sokolova & Lapalme, Inf Process Manag 2009;45:427.

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> confusion_matrix([0, 1, 2, 2], P)
    array([[1, 0, 0],
           [0, 1, 0],
           [1, 0, 1]])
    """
    truth, probabilities = checked_classes(y, P)
    classes = probabilities.shape[1]
    called = probabilities.argmax(axis=1)
    return np.bincount(truth * classes + called, minlength=classes**2).reshape(classes, classes)


def multiclass_auc(
    y: ArrayLike,
    P: ArrayLike,
    *,
    average: ClassAverage = "macro",
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Estimate:
    """Mean of the one-vs-rest AUCs, with equal weights (macro) or weighted by cases (weighted).

    Parameters
    ----------
    y, P
        As for `confusion_matrix`.
    average
        ``"macro"`` or ``"weighted"``.
    level, replicates, seed, groups
        Options of the percentile bootstrap; see `ctbone.stats.bootstrap_auc`.
    names
        Names of the classes, for ``why``; default: class 0, class 1, ….

    Returns
    -------
    Estimate
        0–1; undefined if a class has no case, no interval if the resamples do not vary.

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid.

    References
    ----------
    Provost & Domingos, CeDER Working Paper IS-00-04, New York University 2000. Fawcett, Pattern
    Recognit Lett 2006;27:861.

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> multiclass_auc([0, 1, 2, 2], P, replicates=20).value
    1.0
    """
    truth, probabilities = checked_classes(y, P)
    if average not in ("macro", "weighted"):
        raise StatsError(
            "unknown average over classes", found=average, expected="macro or weighted"
        )
    classes = probabilities.shape[1]
    name = f"{average} one-vs-rest AUC"
    absent = np.flatnonzero(np.bincount(truth, minlength=classes) == 0)
    if absent.size:
        return Estimate.undefined(name, f"{class_name(absent[0], names)} has no case")

    def mean_area(weights: Floats) -> Floats:
        areas = np.stack(
            [weighted_auc(weights, truth == k, probabilities[:, k]) for k in range(classes)]
        )
        if average == "macro":
            return np.asarray(areas.mean(axis=0), dtype=np.float64)
        cases = np.stack([weights[:, truth == k].sum(axis=1) for k in range(classes)])
        return np.asarray((areas * cases).sum(axis=0) / cases.sum(axis=0), dtype=np.float64)

    return _bootstrapped(
        mean_area,
        truth,
        name=name,
        level=level,
        replicates=replicates,
        seed=seed,
        groups=groups,
    )


def macro_f1(
    y: ArrayLike,
    P: ArrayLike,
    *,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Estimate:
    """Macro F1: unweighted mean of the classes' F1; the class of the highest probability is called.

    Parameters
    ----------
    y, P
        As for `confusion_matrix`.
    level, replicates, seed, groups
        Options of the percentile bootstrap; see `ctbone.stats.bootstrap_auc`.
    names
        Names of the classes, for ``why``; default: class 0, class 1, ….

    Returns
    -------
    Estimate
        0–1; undefined if a class neither occurs nor is called, no interval if the resamples do not
        vary.

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid.

    References
    ----------
    Opitz & Burst, arXiv:1911.03347 (the mean of F1s, not the F1 of means).

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> round(macro_f1([0, 1, 2, 2], P, replicates=20).value, 4)
    0.7778
    """
    truth, probabilities = checked_classes(y, P)
    classes = probabilities.shape[1]
    called = probabilities.argmax(axis=1)
    is_class = (truth[:, None] == np.arange(classes)).astype(np.float64)
    is_called = (called[:, None] == np.arange(classes)).astype(np.float64)
    absent = np.flatnonzero((is_class + is_called).sum(axis=0) == 0)
    if absent.size:
        return Estimate.undefined(
            "macro F1", f"{class_name(absent[0], names)} neither occurs nor is called"
        )

    def mean_f1(weights: Floats) -> Floats:
        with np.errstate(invalid="ignore", divide="ignore"):
            scores = 2 * (weights @ (is_class * is_called)) / (weights @ (is_class + is_called))
        return np.asarray(scores.mean(axis=1), dtype=np.float64)

    return _bootstrapped(
        mean_f1,
        truth,
        name="macro F1",
        level=level,
        replicates=replicates,
        seed=seed,
        groups=groups,
    )


def multiclass_balanced_accuracy(
    y: ArrayLike,
    P: ArrayLike,
    *,
    level: float = 0.95,
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Estimate:
    """Balanced accuracy: mean of the classes' recalls; Wilson limits combined by MOVER.

    Parameters
    ----------
    y, P
        As for `confusion_matrix`.
    level
        Confidence level.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient, see
        `ctbone.stats.clustered_rates`. Default: one case per patient.
    names
        Names of the classes, for ``why``; default: class 0, class 1, ….

    Returns
    -------
    Estimate
        0–1; undefined if a class has no case.

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid.

    References
    ----------
    Zou & Donner, Stat Med 2008;27:1693. Rao & Scott, Biometrics 1992;48:577 (by patient).

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> round(multiclass_balanced_accuracy([0, 1, 2, 2], P).value, 4)
    0.8333
    """
    truth, probabilities = checked_classes(y, P)
    classes = probabilities.shape[1]
    right = probabilities.argmax(axis=1) == truth
    method = f"Wilson limits combined (MOVER), {percent(level)}"
    cases = np.bincount(truth, minlength=classes)
    if (cases == 0).any():
        return Estimate.undefined(
            method, f"{class_name(np.flatnonzero(cases == 0)[0], names)} has no case"
        )
    hits = np.bincount(truth[right], minlength=classes)
    recalls, divisor = hits / cases, 1.0
    patients = patient_numbers(groups, truth.size)
    if patients is not None:
        by_patient = counts_by_patient(2 * truth + right, patients, 2 * classes)
        divisor, words = adjusted_design_effect(
            _mean_recall,
            by_patient,
            weights=np.repeat(1 / cases, 2),
            level=level,
            classes=classes,
        )
        method += f", {words}"
    limits = np.array(
        [
            wilson_limits(hit / divisor, n / divisor, level)
            for hit, n in zip(hits, cases, strict=True)
        ]
    )
    value = float(recalls.mean())
    # MOVER (Zou & Donner 2008): root of the summed squares of the recalls' own half widths.
    below = math.sqrt(float(((recalls - limits[:, 0]) ** 2).sum())) / recalls.size
    above = math.sqrt(float(((limits[:, 1] - recalls) ** 2).sum())) / recalls.size
    return Estimate(value=value, low=value - below, high=value + above, method=method)


def multiclass_brier(
    y: ArrayLike, P: ArrayLike, *, level: float = 0.95, groups: ArrayLike | None = None
) -> Estimate:
    """Brier's original score: squared differences summed over classes, averaged over cases.

    0 (best) to 2. For two classes it is twice the Brier score of `ctbone.stats.brier`.

    Parameters
    ----------
    y, P
        As for `confusion_matrix`.
    level
        Confidence level; normal interval of the mean (by patient: Student's t), clipped to 0–2.
    groups
        Patient of each case, shape (n,), numbers or strings; the interval is then by patient.
        Default: one case per patient.

    Returns
    -------
    Estimate

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid.

    References
    ----------
    Brier, Mon Weather Rev 1950;78:1.

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> round(multiclass_brier([0, 1, 2, 2], P).value, 4)
    0.36
    """
    truth, probabilities = checked_classes(y, P)
    squares = ((probabilities - (truth[:, None] == np.arange(probabilities.shape[1]))) ** 2).sum(
        axis=1
    )
    value = float(squares.mean())
    patients = patient_numbers(groups, truth.size)
    return mean_interval(
        value,
        influences=squares - value,
        patients=patients,
        level=level,
        name="mean of the sum over classes",
        limits=(0.0, 2.0),
    )


def top_label_ece(
    y: ArrayLike,
    P: ArrayLike,
    *,
    bins: int = 10,
    level: float = 0.95,
    replicates: int = 2000,
    seed: int = 0,
    groups: ArrayLike | None = None,
) -> Estimate:
    """Top-label ECE: highest probability of each case against the share of correct calls.

    Parameters
    ----------
    y, P
        As for `confusion_matrix`.
    bins, level, replicates, seed, groups
        As for `ctbone.stats.ece`.

    Returns
    -------
    Estimate
        0 (best) to 1.

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid.

    References
    ----------
    Guo et al., ICML 2017:1321.

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> round(top_label_ece([0, 1, 2, 2], P, replicates=20).value, 4)
    0.35
    """
    truth, probabilities = checked_classes(y, P)
    right = probabilities.argmax(axis=1) == truth
    return ece(
        right,
        probabilities.max(axis=1),
        bins=bins,
        level=level,
        replicates=replicates,
        seed=seed,
        groups=groups,
    )


def dangerous_error(
    y: ArrayLike,
    P: ArrayLike,
    *,
    truth: int,
    called: int,
    level: float = 0.95,
    interval: ProportionInterval = "clopper-pearson",
    groups: ArrayLike | None = None,
    names: Sequence[str] | None = None,
) -> Estimate:
    """Dangerous error: share of one class called a certain other, such as malignant called normal.

    Parameters
    ----------
    y, P
        As for `ctbone.stats.confusion_matrix`.
    truth, called
        True class and called class, as columns of ``P``.
    level, interval
        As for `ctbone.stats.proportion`; exact by default, because such errors are rare.
    groups
        Patient of each case, shape (n,); see `ctbone.stats.clustered_proportion`. Default: one case
        per patient.
    names
        Names of the classes, for ``why``; default: class 0, class 1, ….

    Returns
    -------
    Estimate
        0–1; undefined if the class has no case.

    Raises
    ------
    StatsError
        If classes or probabilities are missing, differ in length or are invalid, or a class is
        unknown.

    References
    ----------
    Clopper & Pearson, Biometrika 1934;26:404. Korn & Graubard, Surv Methodol 1998;24:193 (by
    patient).

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> print(dangerous_error([0, 1, 2, 2] * 3, P * 3, truth=2, called=0))
    0.5000 (0.1181 to 0.8819)
    """
    classes, probabilities = checked_classes(y, P)
    columns = probabilities.shape[1]
    if not (0 <= truth < columns and 0 <= called < columns):
        raise StatsError(
            "unknown class", found=f"{truth} called {called}", expected=f"0 … {columns - 1}"
        )
    concerned = classes == truth
    errors = probabilities[concerned].argmax(axis=1) == called
    if groups is not None:
        groups = checked_groups(groups, classes.size)[concerned]
    empty = f"{class_name(truth, names)} has no case"
    return clustered_proportion(errors, groups, level=level, interval=interval, empty=empty)


def _mean_recall(tables: Floats) -> Floats:
    """Mean recall of each table; columns: wrong and right calls of each class in turn."""
    return np.asarray(
        (tables[:, 1::2] / (tables[:, ::2] + tables[:, 1::2])).mean(axis=1), dtype=np.float64
    )


def _bootstrapped(
    statistic: WeightedStatistic,
    truth: Ints,
    *,
    name: str,
    level: float,
    replicates: int,
    seed: int,
    groups: ArrayLike | None,
) -> Estimate:
    """Unstratified percentile bootstrap with the statistic's name in ``method``.

    There is no interval if a class that occurs has fewer than ``FEWEST_CASES`` patients.
    """
    estimate = bootstrap_estimate(
        statistic,
        np.zeros(truth.size, dtype=np.bool_),
        replicates=replicates,
        level=level,
        seed=seed,
        groups=groups,
        stratified=False,
    )
    patients = np.arange(truth.size) if groups is None else checked_groups(groups, truth.size)
    fewest = min(np.unique(patients[truth == k]).size for k in np.unique(truth))
    if fewest < FEWEST_CASES and estimate.low is not None:
        unit = "cases" if groups is None else "patients"
        why = f"a class has fewer than {FEWEST_CASES} {unit}"
        estimate = Estimate.without_interval(estimate.value, estimate.method, why)
    return replace(estimate, method=f"{name}, {estimate.method}")
