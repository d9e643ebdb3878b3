"""The metrics of one model on one set of cases, each with its interval."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.document import TableColumn
from ctbone.errors import ReportError
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import (
    Estimate,
    auc_interval,
    bootstrap_estimate,
    brier,
    calibration_errors,
    calibration_intercept,
    calibration_slope,
    clustered_proportion,
    clustered_rates,
    confusion_matrix,
    dangerous_error,
    ece_and_mce,
    macro_f1,
    multiclass_auc,
    multiclass_balanced_accuracy,
    multiclass_brier,
    observed_expected,
    scaled_brier,
    top_label_ece,
    weighted_auc,
)

METRICS = (
    "auc",
    "sensitivity",
    "specificity",
    "ppv",
    "npv",
    "accuracy",
    "f1",
    "brier",
    "calibration_intercept",
    "calibration_slope",
    "ece",
    "ici",
    "observed_expected",
)
FURTHER_METRICS = (
    "balanced_accuracy",
    "mcc",
    "positive_likelihood_ratio",
    "negative_likelihood_ratio",
    "scaled_brier",
    "mce",
    "e50",
    "e90",
    "emax",
)
MANY_CLASS_METRICS = ("auc", "accuracy", "balanced_accuracy", "f1", "brier", "ece")
FOLD_METRICS = ("auc", "f1", "sensitivity", "specificity", "accuracy")
SUMMARY_METRICS = ("auc", "sensitivity", "specificity", "accuracy", "brier")
METRIC_TITLES = {
    "auc": "AUC",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "ppv": "PPV",
    "npv": "NPV",
    "accuracy": "Accuracy",
    "balanced_accuracy": "Balanced accuracy",
    "f1": "F1",
    "mcc": "MCC",
    "positive_likelihood_ratio": "LR+",
    "negative_likelihood_ratio": "LR−",
    "brier": "Brier score",
    "scaled_brier": "Scaled Brier score",
    "calibration_intercept": "Calibration intercept",
    "calibration_slope": "Calibration slope",
    "ece": "ECE",
    "mce": "MCE",
    "ici": "ICI",
    "e50": "E50",
    "e90": "E90",
    "emax": "Emax",
    "observed_expected": "Observed / expected",
    "weighted_auc": "AUC, weighted by class size",
}
_CURVE_RESAMPLES = 500  # of a loess curve: seconds, where other statistics take milliseconds
_CURVE_CASES = 5_000_000  # limit of resamples × cases for a loess curve
_CASES = 40_000_000  # limit of resamples × cases for other statistics
_FEWEST = 100  # resamples of other statistics, however many cases there are
_BETWEEN = "_called_"
# From the weights of the cases of a fold, shape (resamples, cases), and their row numbers to the
# metric of each resample.
_Metric: TypeAlias = Callable[[np.ndarray, np.ndarray], np.ndarray]


def two_class_estimates(
    scored: ScoredCases, settings: EvaluationSettings, *, bands: bool
) -> dict[str, Estimate]:
    """Compute ``METRICS``, ``FURTHER_METRICS`` and the dangerous error, if the settings name one.

    Parameters
    ----------
    scored
        Cases of two classes.
    settings
        Confidence level, resamples, seed, dangerous error.
    bands
        Whether to compute bootstrap intervals of ICI, E50, E90 and Emax.
    """
    y, p, level, groups = scored.truth, scored.p, settings.confidence, scored.patients
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[1]  # so that names are sorted only once
    resamples = resamples_for(len(y), settings)
    curve_resamples = min(resamples, _CURVE_RESAMPLES, _CURVE_CASES // len(y)) if bands else 0
    errors = calibration_errors(
        y, p, level=level, replicates=curve_resamples, seed=settings.seed, groups=groups
    )
    mean_gap, largest_gap = ece_and_mce(
        y, p, level=level, replicates=resamples, seed=settings.seed, groups=groups
    )
    found: dict[str, Estimate] = {
        "auc": auc_interval(y, p, level=level, groups=groups),
        **{
            str(name): rate
            for name, rate in clustered_rates(y, scored.called, groups, level=level).items()
        },
        "brier": brier(y, p, level=level, groups=groups),
        "calibration_intercept": calibration_intercept(y, p, level=level, groups=groups),
        "calibration_slope": calibration_slope(y, p, level=level, groups=groups),
        "scaled_brier": scaled_brier(y, p, level=level, groups=groups),
        "ece": mean_gap,
        "mce": largest_gap,
        "ici": errors.ici,
        "e50": errors.e50,
        "e90": errors.e90,
        "emax": errors.emax,
        "observed_expected": observed_expected(y, p, level=level, groups=groups),
    }
    order = (*METRICS, *FURTHER_METRICS)
    return {name: found[name] for name in order} | dangerous_estimate(scored, settings)


def many_class_estimates(
    scored: ScoredCases, settings: EvaluationSettings
) -> tuple[dict[str, Estimate], np.ndarray]:
    """Compute the metrics of a study with more than two classes.

    Returns
    -------
    estimates : dict of str to Estimate
        ``auc`` (mean of each class against the rest), ``accuracy``, ``balanced_accuracy`` and
        ``f1`` (means over the classes), ``brier`` (sum over the classes, 0–2), ``ece`` (of the
        called class), ``weighted_auc`` (mean weighted by the cases of each class), and the
        dangerous error if the settings name one.
    matrix : numpy.ndarray
        Cases by true class (rows) and called class (columns).
    """
    truth, probabilities, level = scored.class_numbers, scored.matrix, settings.confidence
    resamples, seed, groups, names = (
        settings.bootstrap,
        settings.seed,
        scored.patients,
        scored.classes,
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
    return estimates | dangerous_estimate(scored, settings), matrix


def dangerous_estimate(scored: ScoredCases, settings: EvaluationSettings) -> dict[str, Estimate]:
    """Compute the share of the cases of one class that are called a certain other class.

    This is the most feared error of a study, such as malignant called normal. With two classes a
    case is called at its threshold, with more by its highest probability.

    Returns
    -------
    dict of str to Estimate
        One entry with a key such as ``malignant_called_normal`` and the exact interval of Clopper
        and Pearson, by patient if a patient has several cases. Empty if the settings name no
        dangerous error.

    Raises
    ------
    ReportError
        The settings name an unknown class.

    Examples
    --------
    >>> import pandas as pd
    >>> cases = pd.DataFrame({"patient_id": list("abcdef"), "label": "malignant"})
    >>> cases = cases.assign(threshold=0.5, p_malignant=[0.2, 0.7] * 3)
    >>> scored = ScoredCases("3d", cases, classes=("normal", "malignant"), positive="malignant")
    >>> settings = EvaluationSettings(dangerous_error={"truth": "malignant", "called": "normal"})
    >>> print(dangerous_estimate(scored, settings)["malignant_called_normal"])
    0.5000 (0.1181 to 0.8819)
    """
    error = settings.dangerous_error
    if error is None:
        return {}
    classes = list(scored.classes)
    for name in (error.truth, error.called):
        if name not in classes:
            raise ReportError(
                "evaluation.dangerous_error names an unknown class",
                found=name,
                expected=", ".join(classes),
            )
    if scored.two_class:
        positive = classes.index(scored.positive)
        called = np.eye(2)[np.where(scored.called, positive, 1 - positive)]
    else:
        called = scored.matrix
    estimate = dangerous_error(
        scored.class_numbers,
        called,
        truth=classes.index(error.truth),
        called=classes.index(error.called),
        level=settings.confidence,
        groups=scored.patients,
        names=classes,
    )
    return {f"{error.truth}{_BETWEEN}{error.called}": estimate}


def fold_means(
    scored: ScoredCases, folds: Sequence[int], settings: EvaluationSettings
) -> dict[str, Estimate]:
    """Average each metric over the folds; the bootstrap resamples patients over all folds.

    A resampled patient counts in the fold that tested it, so the sizes of the folds vary between
    resamples. With two classes the bootstrap is stratified by class. Resampling within each fold
    would fix the sizes, which are random: with 35 cases the coverage of the 95 % interval falls to
    87.5 %.

    Parameters
    ----------
    scored
        One model, with a fold for each case.
    folds
        The folds to average over.
    settings
        Confidence level, resamples and seed.

    Returns
    -------
    dict of str to Estimate
        With two classes ``auc, sensitivity, specificity, accuracy, f1``; with more ``auc, accuracy,
        balanced_accuracy, f1, brier``. No interval if the resamples do not vary (perfect folds) or
        too many of them leave a fold without a class.
    """
    fold_of = scored.cases["fold"].to_numpy()
    members = [np.flatnonzero(fold_of == fold) for fold in folds]
    metrics = _of_two_classes(scored) if scored.two_class else _of_many_classes(scored)

    def mean(metric: _Metric) -> Callable[[np.ndarray], np.ndarray]:
        return lambda weights: np.mean([metric(weights[:, rows], rows) for rows in members], axis=0)

    return {
        name: bootstrap_estimate(
            mean(metric),
            scored.truth,
            replicates=resamples_for(len(scored), settings),
            level=settings.confidence,
            seed=settings.seed,
            groups=scored.patients,
            stratified=scored.two_class,
        )
        for name, metric in metrics.items()
    }


def _of_two_classes(scored: ScoredCases) -> Mapping[str, _Metric]:
    y, p, right = scored.truth, scored.p, scored.called == scored.truth

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


def _of_many_classes(scored: ScoredCases) -> Mapping[str, _Metric]:
    probabilities, truth = scored.matrix, scored.class_numbers
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


def resamples_for(n: int, settings: EvaluationSettings) -> int:
    """Return the resamples for n cases: those of the settings, fewer for more than 20 000 cases.

    Examples
    --------
    >>> resamples_for(569, EvaluationSettings()), resamples_for(100_000, EvaluationSettings())
    (2000, 400)
    """
    return min(settings.bootstrap, max(_FEWEST, _CASES // n))


def metric_title(name: str) -> str:
    """Return the name of a metric as the report shows it.

    Examples
    --------
    >>> metric_title("auc"), metric_title("malignant_called_normal")
    ('AUC', 'malignant called normal')
    """
    return METRIC_TITLES.get(name) or name.replace(_BETWEEN, " called ")


def metric_columns(names: Sequence[str]) -> list[TableColumn]:
    """Return one table column of estimates for each metric."""
    return [TableColumn(name, metric_title(name), "estimate") for name in names]
