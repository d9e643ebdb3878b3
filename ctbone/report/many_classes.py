"""Metrics where there are more than two classes; a case is called by its highest probability."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.report.dangerous_errors import dangerous_estimate
from ctbone.report.scored_cases import ScoredCases
from ctbone.stats import (
    Estimate,
    clustered_proportion,
    confusion_matrix,
    macro_f1,
    multiclass_auc,
    multiclass_balanced_accuracy,
    multiclass_brier,
    top_label_ece,
)

MANY_CLASS_METRICS = ("auc", "accuracy", "balanced_accuracy", "f1", "brier", "ece")


def many_class_estimates(
    answers: ScoredCases, settings: EvaluationSettings
) -> tuple[dict[str, Estimate], np.ndarray]:
    """Compute the metrics of a study with more than two classes.

    Returns
    -------
    estimates : dict of str to Estimate
        ``auc`` (mean of each class against the rest), ``accuracy``, ``balanced_accuracy`` and ``f1`` (means over the
        classes), ``brier`` (sum over the classes, 0–2), ``ece`` (of the class that is called), ``weighted_auc`` (mean
        by the classes' cases), and the dangerous error if the settings name one.
    matrix : numpy.ndarray
        Cases by class (rows) and call (columns).
    """
    truth, probabilities, level = answers.class_numbers, answers.matrix, settings.confidence
    resamples, seed, groups, names = (
        settings.bootstrap,
        settings.seed,
        answers.patients,
        answers.classes,
    )
    matrix = confusion_matrix(truth, probabilities)

    def area(average: Literal["macro", "weighted"]) -> Estimate:
        """Return the mean of the one-vs-rest AUCs."""
        return multiclass_auc(
            truth,
            probabilities,
            average=average,
            level=level,
            replicates=resamples,
            seed=seed,
            groups=groups,
            names=names,
        )

    estimates = {
        "auc": area("macro"),
        "accuracy": clustered_proportion(
            probabilities.argmax(axis=1) == truth, groups, level=level
        ),
        "balanced_accuracy": multiclass_balanced_accuracy(
            truth, probabilities, level=level, groups=groups, names=names
        ),
        "f1": macro_f1(
            truth,
            probabilities,
            level=level,
            replicates=resamples,
            seed=seed,
            groups=groups,
            names=names,
        ),
        "brier": multiclass_brier(truth, probabilities, level=level, groups=groups),
        "ece": top_label_ece(
            truth, probabilities, level=level, replicates=resamples, seed=seed, groups=groups
        ),
        "weighted_auc": area("weighted"),
    }
    return estimates | dangerous_estimate(answers, settings), matrix
