"""Placements of cases among those of the other class, and the variance of AUCs that comes from them, by patient too."""

from __future__ import annotations

import numpy as np

from ctbone.stats.clusters import patient_sums
from ctbone.stats.inputs import Bools, Floats, Ints


def placements(labels: Bools, scores: Floats) -> tuple[Floats, Floats]:
    """For each positive the share of negatives below it, for each negative the share of positives above it.

    Parameters
    ----------
    labels
        True for the positive class, shape (n,); both classes are there.
    scores
        Shape (n,).

    Returns
    -------
    of_positives, of_negatives : numpy.ndarray of float64
        0–1, ties counting half, in the order of the cases; shapes (positives,) and (negatives,).

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837 (structural components).

    Examples
    --------
    >>> import numpy as np
    >>> placements(np.array([False, False, True, True]), np.array([0.1, 0.4, 0.35, 0.8]))
    (array([0.5, 1. ]), array([1. , 0.5]))
    """
    positive, negative = scores[labels], scores[~labels]
    rank, back = np.argsort(positive, kind="stable"), np.sort(negative)
    # Sorted needles walk through memory in order: several times faster than random ones at 100 000 cases.
    of_positives = np.empty(positive.size)
    ordered = positive[rank]
    below = np.searchsorted(back, ordered, side="left") + np.searchsorted(
        back, ordered, side="right"
    )
    of_positives[rank] = below / (2 * negative.size)
    order = np.argsort(negative, kind="stable")
    of_negatives = np.empty(negative.size)
    at_most = np.searchsorted(ordered, back, side="left") + np.searchsorted(
        ordered, back, side="right"
    )
    of_negatives[order] = 1 - at_most / (2 * positive.size)
    return of_positives, of_negatives


def class_counts(labels: Bools, patients: Ints | None) -> tuple[int, int]:
    """Count what an AUC rests on: cases of each class, or patients with a case of it.

    Parameters
    ----------
    labels
        True for the positive class, shape (n,).
    patients
        Number of each case's patient, None where each case is a patient.

    Returns
    -------
    positives, negatives : int
        A patient with cases of both classes counts in both.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([True, True, False, False])
    >>> class_counts(labels, None), class_counts(labels, np.array([0, 0, 0, 1]))
    ((2, 2), (1, 2))
    """
    if patients is None:
        return int(labels.sum()), int((~labels).sum())
    return _distinct(patients[labels]), _distinct(patients[~labels])


def area_covariance(
    of_positives: Floats, of_negatives: Floats, labels: Bools, patients: Ints | None
) -> Floats:
    """Covariance of AUCs, or of differences of AUCs, from their placements.

    For single cases it is DeLong's. For patients with several cases it is Obuchowski's: deviations of the placements
    are summed by patient, and a patient with cases of both classes adds the product of its two sums.

    Parameters
    ----------
    of_positives, of_negatives
        Placements, or differences of two models' placements, shapes (models, positives) and (models, negatives).
    labels
        True for the positive class, shape (n,).
    patients
        Number of each case's patient, None where each case is a patient.

    Returns
    -------
    numpy.ndarray of float64, shape (models, models)
        Defined where each class has two cases (patients) or more; see `class_counts`.

    References
    ----------
    DeLong, DeLong & Clarke-Pearson, Biometrics 1988;44:837. Obuchowski, Biometrics 1997;53:567.

    Examples
    --------
    >>> import numpy as np
    >>> labels = np.array([True, True, False, False])
    >>> parts = np.array([[0.5, 1.0]]), np.array([[1.0, 0.5]])
    >>> area_covariance(*parts, labels, None), area_covariance(*parts, labels, np.array([0, 1, 0, 1])).round(4)
    (array([[0.125]]), array([[0.]]))
    """
    positives, negatives = of_positives.shape[1], of_negatives.shape[1]
    if patients is None:
        within = (
            np.atleast_2d(np.cov(of_positives)) / positives
            + np.atleast_2d(np.cov(of_negatives)) / negatives
        )
        return np.asarray(within, dtype=np.float64)
    several = int(patients.max()) + 1
    with_positives, with_negatives = class_counts(labels, patients)
    deviations = np.zeros((len(of_positives), labels.size))
    deviations[:, labels] = (of_positives - of_positives.mean(axis=1, keepdims=True)) / positives
    positive = patient_sums(deviations, patients)
    deviations[:, labels] = 0
    deviations[:, ~labels] = (of_negatives - of_negatives.mean(axis=1, keepdims=True)) / negatives
    negative = patient_sums(deviations, patients)
    cross = positive @ negative.T
    return np.asarray(
        with_positives / (with_positives - 1) * (positive @ positive.T)
        + with_negatives / (with_negatives - 1) * (negative @ negative.T)
        + several / (several - 1) * (cross + cross.T),
        dtype=np.float64,
    )


def _distinct(numbers: Ints) -> int:
    return int(np.count_nonzero(np.bincount(numbers)))
