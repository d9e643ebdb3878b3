"""From probabilities to numbers: every metric of one model on one set of cases, each with its interval."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Any

import numpy as np

from ctbone.config import EvaluationSettings
from ctbone.report.dangerous_errors import dangerous_estimate
from ctbone.report.fold_means import fold_means
from ctbone.report.many_classes import many_class_estimates
from ctbone.report.scored_cases import CaseSet, ScoredCases, shared_cases
from ctbone.stats import (
    Comparison,
    Confusion,
    Estimate,
    TestResult,
    auc_interval,
    brier,
    calibration_errors,
    calibration_intercept,
    calibration_slope,
    clustered_rates,
    confusion,
    delong_test,
    ece,
    holm,
    hosmer_lemeshow,
    mce,
    observed_expected,
    scaled_brier,
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
FOLD_METRICS = ("auc", "f1", "sensitivity", "specificity", "accuracy")

_CURVE_RESAMPLES = (
    500  # each fits a loess curve: seconds, where the other resamples take milliseconds
)
_CURVE_CASES = 5_000_000  # cases drawn in all resamples of a curve, and of the other statistics
_CASES = 40_000_000
_FEWEST = 100


@dataclass(frozen=True)
class Judgement:
    """The numbers of one model on one set of cases.

    Attributes
    ----------
    name
        The model.
    n, positives
        Cases, and those of the positive class.
    estimates
        Name of each metric and its estimate.
    matrix
        Cases by class (rows) and call (columns), shape (classes, classes); with two classes the negative one first.
    thresholds
        The distinct thresholds that were applied.
    folds
        The same for each fold, where cases have one.
    mean_of_folds
        Mean over the folds of some metrics, where there are two folds or more.
    hosmer_lemeshow
        Test of calibration with two classes, else None; cases count as independent.
    """

    name: str
    n: int
    positives: int
    estimates: Mapping[str, Estimate]
    matrix: np.ndarray
    thresholds: tuple[float, ...]
    folds: Mapping[int, Judgement] = field(default_factory=dict)
    mean_of_folds: Mapping[str, Estimate] = field(default_factory=dict)
    hosmer_lemeshow: TestResult | None = None

    @property
    def confusion(self) -> Confusion:
        """The counts of a two-class decision."""
        (tn, fp), (fn, tp) = self.matrix.tolist()
        return Confusion(tn=tn, fp=fp, fn=fn, tp=tp)

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``metrics.json``."""
        counts = self.confusion.as_dict() if len(self.matrix) == 2 else self.matrix.tolist()
        content: dict[str, Any] = {
            name: estimate.as_dict() for name, estimate in self.estimates.items()
        }
        content |= {
            "confusion": counts,
            "n": self.n,
            "positives": self.positives,
            "thresholds": list(self.thresholds),
        }
        if self.hosmer_lemeshow is not None:
            content["hosmer_lemeshow"] = self.hosmer_lemeshow.as_dict()
        if self.folds:
            content["folds"] = {
                str(fold): judgement.as_dict() for fold, judgement in self.folds.items()
            }
        if self.mean_of_folds:
            content["mean_of_folds"] = {
                name: estimate.as_dict() for name, estimate in self.mean_of_folds.items()
            }
        return content


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same cases, first minus second.

    Attributes
    ----------
    a, b
        The models.
    n
        Cases that both answered for.
    result
        Difference of the AUCs.
    adjusted
        p-value after Holm's adjustment over the comparisons of the set.
    """

    a: str
    b: str
    n: int
    result: Comparison
    adjusted: float | None

    def as_dict(self) -> dict[str, Any]:
        """Return the entry of ``metrics.json``."""
        return {
            "a": self.a,
            "b": self.b,
            "metric": "auc",
            **self.result.as_dict(),
            "p_value_holm": self.adjusted,
            "n": self.n,
        }


def judge(answers: ScoredCases, settings: EvaluationSettings, *, bands: bool = True) -> Judgement:
    """Compute every metric of one model on one set of cases.

    Parameters
    ----------
    answers
        The model's probabilities, labels and thresholds.
    settings
        Confidence level, resamples, seed, and the dangerous error if one is named.
    bands
        Whether ICI, E50, E90 and Emax get their bootstrap intervals, which take a second or two.

    Returns
    -------
    Judgement
        With the same for each fold if the cases are tested in several, and the mean over these.

    Raises
    ------
    ReportError
        The dangerous error names a class that there is not.
    """
    folds = answers.folds if len(answers.folds) > 1 else ()
    by_fold = {fold: _judge_once(answers.of_fold(fold), settings, bands=False) for fold in folds}
    whole = _judge_once(answers, settings, bands=bands)
    means = (
        fold_means(answers, folds, settings, resamples_for(len(answers), settings)) if folds else {}
    )
    return replace(whole, folds=by_fold, mean_of_folds=means)


def compare(cases: CaseSet, settings: EvaluationSettings) -> list[ModelComparison]:
    """Compare the AUCs of every two models on the cases that both answered for.

    DeLong's paired test, by patient (Obuchowski) where a patient has several cases.
    """
    pairs: list[tuple[str, str, int, Comparison]] = []
    compared = [answers for answers in cases.answers if answers.name not in cases.uncompared]
    for first, second in combinations(compared, 2):
        a, b = shared_cases(first, second)
        if not a.two_class or not len(a):
            continue
        result = delong_test(a.truth, a.p, b.p, level=settings.confidence, groups=a.patients)
        pairs.append((a.name, b.name, len(a), result))
    adjusted = holm([result.p_value for *_, result in pairs])
    return [
        ModelComparison(a, b, n, result, p)
        for (a, b, n, result), p in zip(pairs, adjusted, strict=True)
    ]


def resamples_for(n: int, settings: EvaluationSettings) -> int:
    """Return how often n cases are resampled: as the settings ask, less often where there are more than 20 000.

    Examples
    --------
    >>> resamples_for(569, EvaluationSettings()), resamples_for(100_000, EvaluationSettings())
    (2000, 400)
    """
    return min(settings.bootstrap, max(_FEWEST, _CASES // n))


def _judge_once(answers: ScoredCases, settings: EvaluationSettings, *, bands: bool) -> Judgement:
    thresholds = (
        tuple(sorted(set(answers.cases["threshold"].round(12)))) if answers.two_class else ()
    )
    if not answers.two_class:
        estimates, matrix = many_class_estimates(answers, settings)
        return Judgement(answers.name, len(answers), 0, estimates, matrix, thresholds)
    counts = confusion(answers.truth, answers.called.astype(float), 0.5)
    matrix = np.array([[counts.tn, counts.fp], [counts.fn, counts.tp]])
    estimates = _two_class_estimates(answers, settings, bands=bands)
    return Judgement(
        answers.name,
        len(answers),
        int(answers.truth.sum()),
        estimates,
        matrix,
        thresholds,
        hosmer_lemeshow=hosmer_lemeshow(answers.truth, answers.p),
    )


def _two_class_estimates(
    answers: ScoredCases, settings: EvaluationSettings, *, bands: bool
) -> dict[str, Estimate]:
    y, p, level, groups = answers.truth, answers.p, settings.confidence, answers.patients
    if groups is not None:
        groups = np.unique(groups, return_inverse=True)[
            1
        ]  # names are sorted once, not for each number
    resamples = resamples_for(len(y), settings)
    curve_resamples = min(resamples, _CURVE_RESAMPLES, _CURVE_CASES // len(y)) if bands else 0
    errors = calibration_errors(
        y, p, level=level, replicates=curve_resamples, seed=settings.seed, groups=groups
    )
    found: dict[str, Estimate] = {
        "auc": auc_interval(y, p, level=level, groups=groups),
        **{
            str(name): rate
            for name, rate in clustered_rates(y, answers.called, groups, level=level).items()
        },
        "brier": brier(y, p, level=level, groups=groups),
        "calibration_intercept": calibration_intercept(y, p, level=level, groups=groups),
        "calibration_slope": calibration_slope(y, p, level=level, groups=groups),
        "scaled_brier": scaled_brier(y, p, level=level, groups=groups),
        "ece": ece(y, p, level=level, replicates=resamples, seed=settings.seed, groups=groups),
        "mce": mce(y, p, level=level, replicates=resamples, seed=settings.seed, groups=groups),
        "ici": errors.ici,
        "e50": errors.e50,
        "e90": errors.e90,
        "emax": errors.emax,
        "observed_expected": observed_expected(y, p, level=level, groups=groups),
    }
    order = (*METRICS, *FURTHER_METRICS)
    return {name: found[name] for name in order} | dangerous_estimate(answers, settings)
