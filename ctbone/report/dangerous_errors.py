"""The one error that a study fears most, such as malignant called normal, as a metric of its own."""

from __future__ import annotations

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.errors import ReportError
from ctbone.report.scored_cases import ScoredCases
from ctbone.stats import Estimate, dangerous_error

_BETWEEN = "_called_"


def dangerous_estimate(answers: ScoredCases, settings: EvaluationSettings) -> dict[str, Estimate]:
    """Compute the share of a class's cases that are called a certain other class; nothing where none was asked for.

    Two classes are called at the cases' thresholds, more by the highest probability.

    Returns
    -------
    dict of str to Estimate
        Keyed such as ``malignant_called_normal``, with the exact interval of Clopper and Pearson, by patient where a
        patient has several cases.

    Raises
    ------
    ReportError
        The settings name a class that the answers do not have.

    Examples
    --------
    >>> import pandas as pd
    >>> cases = {"patient_id": ["a", "b"], "label": "malignant", "threshold": 0.5, "p_malignant": [0.2, 0.7]}
    >>> answers = ScoredCases("3d", pd.DataFrame(cases), ("normal", "malignant"), "malignant")
    >>> settings = EvaluationSettings(dangerous_error={"truth": "malignant", "called": "normal"})
    >>> print(dangerous_estimate(answers, settings)["malignant_called_normal"])
    0.5000 (0.0126 to 0.9874)
    """
    error = settings.dangerous_error
    if error is None:
        return {}
    classes = list(answers.classes)
    for name in (error.truth, error.called):
        if name not in classes:
            raise ReportError(
                "evaluation.dangerous_error names a class that there is not",
                found=name,
                expected=", ".join(classes),
            )
    if answers.two_class:
        positive = classes.index(answers.positive)
        called = np.eye(2)[np.where(answers.called, positive, 1 - positive)]
    else:
        called = answers.matrix
    estimate = dangerous_error(
        answers.class_numbers,
        called,
        truth=classes.index(error.truth),
        called=classes.index(error.called),
        level=settings.confidence,
        groups=answers.patients,
        names=classes,
    )
    return {f"{error.truth}{_BETWEEN}{error.called}": estimate}


def dangerous_title(name: str) -> str:
    """Write such a metric's name in words.

    Examples
    --------
    >>> dangerous_title("malignant_called_normal")
    'malignant called normal'
    """
    return name.replace(_BETWEEN, " called ")
