"""Answers for the validation rows themselves: each from a fit that has not seen its patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ctbone.errors import FusionError

_INNER_FOLDS = 5

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From the rows to fit on and the rows to answer for to these rows' probabilities, (rows, classes)."""


def cross_fitted(
    fit: Fit, labels: np.ndarray, patients: np.ndarray, classes: int, seed: int
) -> np.ndarray:
    """Answer for rows that a fit would otherwise have seen: thresholds found on those would be too good.

    Parameters
    ----------
    fit
        Fits on some rows and answers for others; called with the row numbers of both.
    labels
        Class number of each row, (rows,); each class needs two patients.
    patients
        Patient of each row, (rows,); a patient's rows stay together.
    classes
        How many there are.
    seed
        Deals the patients.

    Returns
    -------
    numpy.ndarray
        Probabilities, (rows, classes).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(patients[labels == number])) for number in range(classes))
    split = StratifiedGroupKFold(min(_INNER_FOLDS, fewest), shuffle=True, random_state=seed)
    answers = np.zeros((len(labels), classes))
    for kept, left_out in split.split(labels, labels, patients):
        answers[left_out] = fit(kept, left_out)
    return answers


def check_rows(fold: int, labels: np.ndarray, patients: np.ndarray, classes: Sequence[str]) -> None:
    """Refuse a fold whose validation rows hold fewer than two patients of a class.

    Raises
    ------
    FusionError
        The fold and the class are named.
    """
    for number, name in enumerate(classes):
        count = len(np.unique(patients[labels == number]))
        if count < 2:
            raise FusionError(
                f"fold {fold} has too few validation rows to fit anything on",
                found=f"{count} patient{'s' * (count != 1)} of class {name}",
                expected="two or more of each class",
                remedy="use a weighted fusion with equal or given weights",
            )
