"""A chosen dangerous error, such as malignant called normal, with its exact interval."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from ctbone.errors import StatsError
from ctbone.stats.clustered_rates import clustered_proportion
from ctbone.stats.estimate import Estimate
from ctbone.stats.inputs import checked_classes, checked_groups, class_words
from ctbone.stats.proportions import ProportionInterval


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
    """Share of one class's cases that are called a certain other class, such as malignant called normal.

    Parameters
    ----------
    y, P
        As for `ctbone.stats.confusion_matrix`.
    truth, called
        Columns of ``P``.
    level, interval
        As for `ctbone.stats.proportion`; exact by default, since such errors are few.
    groups
        Patient of each case, shape (n,); see `ctbone.stats.clustered_proportion`. Default: each case is a patient.
    names
        Names of the classes for the reasons that a result gives; default: class 0, class 1, ….

    Returns
    -------
    Estimate
        0–1; undefined where the class has no case.

    Raises
    ------
    StatsError
        If classes or probabilities are missing, do not fit together, or are no probabilities, or a class is unknown.

    References
    ----------
    Clopper & Pearson, Biometrika 1934;26:404. Korn & Graubard, Surv Methodol 1998;24:193 (by patient).

    Examples
    --------
    >>> P = [[0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.1, 0.3, 0.6], [0.5, 0.3, 0.2]]
    >>> print(dangerous_error([0, 1, 2, 2], P, truth=2, called=0))
    0.5000 (0.0126 to 0.9874)
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
    empty = f"{class_words(truth, names)} has no case"
    return clustered_proportion(errors, groups, level=level, interval=interval, empty=empty)
