"""Input checks of all statistics: labels, scores, probabilities, confidence levels, groups."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ctbone.errors import StatsError

Floats: TypeAlias = NDArray[np.float64]
Ints: TypeAlias = NDArray[np.int64]
Bools: TypeAlias = NDArray[np.bool_]

ONE_CLASS = "only one class is present"


def checked_labels(y: ArrayLike) -> Bools:
    """Return the labels as booleans, True for the positive class.

    Parameters
    ----------
    y
        Labels, shape (n,), 0/1 or bool.

    Returns
    -------
    numpy.ndarray of bool, shape (n,)

    Raises
    ------
    StatsError
        If the labels are empty, missing, not one-dimensional or not 0 and 1.

    Examples
    --------
    >>> checked_labels([0, 1, 1])
    array([False,  True,  True])
    """
    labels = np.asarray(y)
    if labels.ndim != 1:
        raise StatsError(
            "labels must be one-dimensional", found=f"shape {labels.shape}", expected="shape (n,)"
        )
    if labels.size == 0:
        raise StatsError("there is no case", found="0 labels", expected="at least one")
    if labels.dtype == np.bool_:
        return labels
    try:
        numbers = labels.astype(np.float64)
    except (TypeError, ValueError):
        raise StatsError(
            "labels are not 0 or 1",
            found=repr(labels.flat[0]),
            expected="1 for the positive class and 0 for the other",
            remedy="map the class names to 0 and 1 first",
        ) from None
    if np.isnan(numbers).any():
        raise StatsError(
            "a label is missing",
            found=f"{int(np.isnan(numbers).sum())} of {labels.size} are NaN",
            remedy="drop or complete these cases",
        )
    wrong = (numbers != 0) & (numbers != 1)
    if wrong.any():
        raise StatsError(
            "labels are not 0 or 1", found=repr(numbers[wrong][0].item()), expected="0 or 1"
        )
    return numbers == 1


def checked_scores(p: ArrayLike, n: int, *, probability: bool = False) -> Floats:
    """Return scores as float64 after checking length, missing values and, on request, range.

    Parameters
    ----------
    p
        Scores, shape (n,); a higher score indicates the positive class.
    n
        Number of labels.
    probability
        Require probabilities: a score outside 0–1 is an error.

    Returns
    -------
    numpy.ndarray of float64, shape (n,)

    Raises
    ------
    StatsError
        If a score is missing or infinite, the lengths differ, or a probability is outside 0–1.

    Examples
    --------
    >>> checked_scores([0.25, 1], 2, probability=True)
    array([0.25, 1.  ])
    """
    try:
        scores = np.asarray(p, dtype=np.float64)
    except (TypeError, ValueError):
        raise StatsError("scores are not numbers", found=repr(p)[:80], expected="numbers") from None
    if scores.shape != (n,):
        raise StatsError(
            "labels and scores do not fit together",
            found=f"scores of shape {scores.shape}",
            expected=f"shape ({n},)",
        )
    if np.isnan(scores).any():
        raise StatsError(
            "a score is missing",
            found=f"{int(np.isnan(scores).sum())} of {n} are NaN",
            remedy="drop or complete these cases",
        )
    if not np.isfinite(scores).all():
        raise StatsError("a score is infinite", found="inf", expected="finite numbers")
    if probability and ((scores < 0) | (scores > 1)).any():
        outside = scores[(scores < 0) | (scores > 1)]
        raise StatsError(
            "a probability lies outside 0–1",
            found=f"{outside.size} of {n}, the first is {outside[0]:g}",
            expected="probabilities from 0 to 1",
            remedy="if these are logits, apply the sigmoid first; if percent, divide by 100",
        )
    return scores


def checked_pair(y: ArrayLike, p: ArrayLike, *, probability: bool = False) -> tuple[Bools, Floats]:
    """Check labels and scores together; see `checked_labels` and `checked_scores`.

    Examples
    --------
    >>> checked_pair([0, 1], [0.2, 0.7])
    (array([False,  True]), array([0.2, 0.7]))
    """
    labels = checked_labels(y)
    return labels, checked_scores(p, labels.size, probability=probability)


def checked_models(
    y: ArrayLike, P: ArrayLike, *, probability: bool = False
) -> tuple[Bools, Floats]:
    """Check labels of shape (n,) and the scores of several models, shape (models, n).

    Examples
    --------
    >>> checked_models([0, 1], [[0.2, 0.7], [0.4, 0.3]])[1].shape
    (2, 2)
    """
    labels = checked_labels(y)
    try:
        shape = np.shape(P)
    except ValueError:  # rows of different lengths
        raise StatsError(
            "models have different numbers of scores", expected=f"(models, {labels.size})"
        ) from None
    if len(shape) != 2 or shape[1] != labels.size or shape[0] == 0:
        raise StatsError(
            "scores of several models have the wrong shape",
            found=f"{shape}",
            expected=f"(models, {labels.size})",
        )
    return labels, np.stack(
        [checked_scores(row, labels.size, probability=probability) for row in np.asarray(P)]
    )


def checked_level(level: float) -> float:
    """Return the confidence level if it lies strictly between 0 and 1.

    Examples
    --------
    >>> checked_level(0.95)
    0.95
    """
    if not 0 < level < 1:
        raise StatsError(
            "the confidence level is not strictly between 0 and 1",
            found=level,
            expected="such as 0.95",
        )
    return float(level)


def percent(level: float) -> str:
    """Format a confidence level as a percentage for ``method``.

    Examples
    --------
    >>> percent(0.95), percent(0.995)
    ('95%', '99.5%')
    """
    return f"{round(100 * checked_level(level), 6):g}%"


def checked_classes(y: ArrayLike, P: ArrayLike) -> tuple[Ints, Floats]:
    """Check true classes, shape (n,), and class probabilities, shape (n, classes).

    Raises
    ------
    StatsError
        If classes or probabilities are missing or differ in length, or rows do not sum to 1 within
        0.01.

    Examples
    --------
    >>> checked_classes([1, 0], [[0.3, 0.7], [0.5, 0.5]])[0]
    array([1, 0])
    """
    try:
        probabilities = np.asarray(P, dtype=np.float64)
        truth = np.asarray(y, dtype=np.float64)
    except (TypeError, ValueError):
        raise StatsError(
            "classes and probabilities are not numbers", expected="columns and probabilities"
        ) from None
    if (
        probabilities.ndim != 2
        or probabilities.shape[1] < 2
        or truth.shape != probabilities.shape[:1]
    ):
        raise StatsError(
            "classes and probabilities do not fit together",
            found=f"{truth.shape} and {probabilities.shape}",
            expected="(n,) and (n, classes)",
        )
    if truth.size == 0:
        raise StatsError("there is no case", found="0 labels", expected="at least one")
    if np.isnan(truth).any() or np.isnan(probabilities).any():
        raise StatsError(
            "a class or a probability is missing",
            found="NaN",
            remedy="drop or complete these cases",
        )
    unknown = (truth != np.floor(truth)) | (truth < 0) | (truth >= probabilities.shape[1])
    if unknown.any():
        raise StatsError(
            "unknown class", found=truth[unknown][0], expected=f"0 … {probabilities.shape[1] - 1}"
        )
    if ((probabilities < 0) | (probabilities > 1)).any():
        raise StatsError(
            "a probability lies outside 0–1",
            remedy="if these are logits, apply the softmax first; if percent, divide",
        )
    sums = probabilities.sum(axis=1)
    if (np.abs(sums - 1) > 0.01).any():
        raise StatsError(
            "the probabilities of a case do not sum to 1",
            found=f"{sums[np.abs(sums - 1).argmax()]:g}",
            expected="1",
        )
    return truth.astype(np.int64), probabilities


def class_name(number: int, names: Sequence[str] | None) -> str:
    """Return the name of a class, or ``class <number>`` if no names are given.

    Examples
    --------
    >>> class_name(1, None), class_name(1, ["benign", "malignant"])
    ('class 1', 'malignant')
    """
    return f"class {number}" if names is None else names[number]


def checked_groups(groups: ArrayLike, n: int) -> Ints:
    """Return the patient number of each case; patients are numbered in the order of their names.

    Parameters
    ----------
    groups
        Patient of each case, shape (n,), numbers or strings.
    n
        Number of cases.

    Returns
    -------
    numpy.ndarray of int64, shape (n,)
        0 … patients − 1.

    Raises
    ------
    StatsError
        If a patient is missing, the names cannot be sorted together, or their number is not n.

    Examples
    --------
    >>> checked_groups(["b", "a", "b"], 3)
    array([1, 0, 1])
    """
    names = np.asarray(groups)
    if names.shape != (n,):
        raise StatsError("labels and groups do not fit together", found=names.shape, expected=(n,))
    missing = (
        np.isnan(names)
        if names.dtype.kind == "f"
        else [is_missing(name) for name in _objects(names)]
    )
    if np.any(missing):
        raise StatsError(
            "a patient is missing",
            found=f"{int(np.sum(missing))} of {n} groups are missing",
            remedy="name the patient of every case",
        )
    if names.dtype.kind in "iu" and names.min() >= 0 and names.max() <= 4 * n:
        # For small integers, counting is several times faster than the sort of np.unique.
        present = np.bincount(names) > 0
        return np.asarray((np.cumsum(present) - 1)[names], dtype=np.int64)
    try:
        _, patient_of_case = np.unique(names, return_inverse=True)
    except TypeError:
        raise StatsError(
            "groups mix several types",
            found=repr(names[:3]),
            expected="names of one type, none missing",
        ) from None
    return patient_of_case.astype(np.int64)


def _objects(names: np.ndarray) -> list[object]:
    """Names of an object array; other types cannot hold None or NA."""
    return names.tolist() if names.dtype.kind == "O" else []


def is_missing(name: object) -> bool:
    """Whether a value is None, NaN or ``pandas.NA``.

    Examples
    --------
    >>> is_missing(float("nan")), is_missing("")
    (True, False)
    """
    if name is None:
        return True
    try:
        return bool(name != name)
    except TypeError:  # pandas.NA has no truth value
        return True
