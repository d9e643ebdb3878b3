"""The mean over the folds of some metrics, with an interval from a bootstrap of patients."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.report.scored_cases import ScoredCases
from ctbone.stats import Estimate, bootstrap_estimate, weighted_auc

# From the weights of a fold's cases, shape (resamples, cases), and the places of these cases to the metric.
_Metric: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


def fold_means(
    answers: ScoredCases, folds: Sequence[int], settings: EvaluationSettings, resamples: int
) -> dict[str, Estimate]:
    """Average each metric over the folds; resampling draws patients over all folds.

    A drawn patient counts in the fold where it was tested, so that the folds' sizes vary between resamples. With two
    classes the patients are drawn stratified by class. Drawing within each fold would keep more fixed than is: for
    35 cases it lowers the coverage of the 95 % interval to 87.5 %.

    Parameters
    ----------
    answers
        The model's answers, each in a fold.
    folds
        The folds to average over.
    settings
        Confidence level and seed.
    resamples
        How many.

    Returns
    -------
    dict of str to Estimate
        With two classes ``auc, sensitivity, specificity, accuracy, f1``; with more ``auc, accuracy,
        balanced_accuracy, f1, brier``. Without interval where the resamples do not vary (perfect folds) or too many
        of them leave a fold without a class.
    """
    fold_of = answers.cases["fold"].to_numpy()
    members = [np.flatnonzero(fold_of == fold) for fold in folds]
    metrics = _of_two_classes(answers) if answers.two_class else _of_many_classes(answers)

    def mean(metric: _Metric) -> Callable[[np.ndarray], np.ndarray]:
        return lambda weights: np.mean([metric(weights[:, rows], rows) for rows in members], axis=0)

    return {
        name: bootstrap_estimate(
            mean(metric),
            answers.truth,
            replicates=resamples,
            level=settings.confidence,
            seed=settings.seed,
            groups=answers.patients,
            stratified=answers.two_class,
        )
        for name, metric in metrics.items()
    }


def _of_two_classes(answers: ScoredCases) -> Mapping[str, _Metric]:
    y, p, right = answers.truth, answers.p, answers.called == answers.truth

    def share(events: np.ndarray, among: np.ndarray) -> _Metric:
        return lambda w, rows: _ratio(
            w @ (events & among)[rows].astype(float), w @ among[rows].astype(float)
        )

    def f1(w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        tp = w @ (y & right)[rows].astype(float)
        return _ratio(2 * tp, 2 * tp + w @ (~right)[rows].astype(float))

    return {
        "auc": lambda w, rows: weighted_auc(w, y[rows], p[rows]),
        "sensitivity": share(right, y),
        "specificity": share(right, ~y),
        "accuracy": share(right, np.ones_like(y)),
        "f1": f1,
    }


def _of_many_classes(answers: ScoredCases) -> Mapping[str, _Metric]:
    probabilities, truth = answers.matrix, answers.class_numbers
    numbers = np.arange(probabilities.shape[1])
    is_class = (truth[:, None] == numbers).astype(float)
    is_called = (probabilities.argmax(axis=1)[:, None] == numbers).astype(float)
    hit, squares = is_class * is_called, ((probabilities - is_class) ** 2).sum(axis=1)

    def auc(w: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.mean(
            [weighted_auc(w, is_class[rows, k], probabilities[rows, k]) for k in numbers], axis=0
        )

    return {
        "auc": auc,
        "accuracy": lambda w, rows: _ratio(w @ hit[rows].sum(axis=1), w.sum(axis=1)),
        "balanced_accuracy": lambda w, rows: _ratio(w @ hit[rows], w @ is_class[rows]).mean(axis=1),
        "f1": lambda w, rows: _ratio(2 * (w @ hit[rows]), w @ (is_class + is_called)[rows]).mean(
            axis=1
        ),
        "brier": lambda w, rows: _ratio(w @ squares[rows], w.sum(axis=1)),
    }


def _ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(top / bottom)
