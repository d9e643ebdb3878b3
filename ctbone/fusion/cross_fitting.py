"""Cross-fitting: predictions for validation rows from fits without their patients."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from ctbone.errors import FusionError

_INNER_FOLDS = 5

Fit = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Takes the row numbers to fit on and those to predict; returns probabilities (rows, classes)."""


def cross_fitted(
    fit: Fit, labels: np.ndarray, patients: np.ndarray, classes: int, seed: int
) -> np.ndarray:
    """Predict each row with a fit on other patients.

    Thresholds that are chosen on rows of the fit itself would be too optimistic.

    Parameters
    ----------
    fit
        Fits on some rows and predicts others; called with the row numbers of both.
    labels
        Class number of each row, (rows,); each class needs two patients.
    patients
        Patient of each row, (rows,); a patient's rows stay together.
    classes
        Number of classes.
    seed
        Seed of the split of the patients.

    Returns
    -------
    numpy.ndarray
        Probabilities, (rows, classes).
    """
    from sklearn.model_selection import StratifiedGroupKFold

    fewest = min(len(np.unique(patients[labels == number])) for number in range(classes))
    split = StratifiedGroupKFold(min(_INNER_FOLDS, fewest), shuffle=True, random_state=seed)
    predicted = np.zeros((len(labels), classes))
    for kept, left_out in split.split(labels, labels, patients):
        predicted[left_out] = fit(kept, left_out)
    return predicted


def check_rows(fold: int, labels: np.ndarray, patients: np.ndarray, classes: Sequence[str]) -> None:
    """Check that the validation rows of a fold have two or more patients of each class.

    Raises
    ------
    FusionError
        They have fewer; the message names the fold and the class.
    """
    for number, name in enumerate(classes):
        count = len(np.unique(patients[labels == number]))
        if count < 2:
            raise FusionError(
                f"fold {fold} has too few validation rows for a fit",
                found=f"{count} patient{'s' * (count != 1)} of class {name}",
                expected="two or more of each class",
                remedy="use a weighted fusion with equal or given weights",
            )
