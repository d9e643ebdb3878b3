"""Shortcuts: how well each column alone predicts the class, cross-validated by patient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import exp, log
from typing import TypeAlias

import numpy as np
from scipy.special import fdtrc

from ctbone.auditing.columns import AuditColumn
from ctbone.cohort import Case
from ctbone.config import Settings
from ctbone.findings import Finding, State
from ctbone.folds import assign_patients
from ctbone.stats import Estimate, auc_interval, bootstrap_estimate, holm, weighted_auc
from ctbone.stats.logistic import expit

ALPHA = 0.01
"""Adjusted p-value below which a column counts as predicting the class: at most one of 100 studies
without any shortcut has one such column."""
_GIVEAWAY_AUC = 0.95
"""AUC from which a clinical column alone is taken for a result of the diagnosis; our choice."""
_FOLDS = 5
_REPLICATES = 1000
"""Bootstrap resamples of an interval for more than two classes."""
_SMALLEST_P = 1e-12
_STEPS = 100
"""Steps of a logistic fit; the order of the probabilities is settled after a few."""

Classifier: TypeAlias = Callable[[np.ndarray, np.ndarray, np.ndarray, int], np.ndarray]
"""From training features, training labels, test features and the number of classes to the
probabilities of each class, (test cases, classes)."""


@dataclass(frozen=True)
class Task:
    """Labels, patients and folds of some cases.

    Attributes
    ----------
    labels
        Class number of each case, (cases,).
    patients
        Number of the patient of each case, (cases,).
    folds
        Fold in which each case is tested, (cases,); a patient is in one fold.
    classes
        Number of classes.
    positive
        The class whose AUC is reported where there are two.
    """

    labels: np.ndarray
    patients: np.ndarray
    folds: np.ndarray
    classes: int
    positive: int

    @classmethod
    def of(cls, cases: Sequence[Case], settings: Settings) -> Task | None:
        """Draw folds for these cases; None if a class has fewer than two patients."""
        labels = np.array([settings.classes.index(case.label) for case in cases])
        names = np.array([case.patient_id for case in cases])
        patients = np.unique(names, return_inverse=True)[1]
        fewest = min(len(set(patients[labels == k])) for k in range(len(settings.classes)))
        if fewest < 2:
            return None
        count = min(_FOLDS, fewest)
        folds = assign_patients(
            labels, names, shares=np.full(count, 1 / count), seed=settings.folds.seed
        )
        positive = settings.classes.index(settings.positive_class)
        return cls(labels, patients, folds, len(settings.classes), positive)

    def out_of_fold(self, features: np.ndarray, classify: Classifier) -> np.ndarray:
        """Return a score of each case for each class by the fit on the other folds.

        The score is the probability's rank within the fold, 0–1, ties averaged. Probabilities of
        two folds are not compared: of two cases with equal features, the one of another class than
        most in its own fold would get the higher probability, which pulls the AUC of a column
        without information far below 0.5.

        Returns
        -------
        numpy.ndarray, shape (cases, classes)
        """
        found = np.zeros((len(self.labels), self.classes))
        for fold in np.unique(self.folds):
            test = self.folds == fold
            probabilities = classify(
                features[~test], self.labels[~test], features[test], self.classes
            )
            found[test] = np.apply_along_axis(_ranks, 0, probabilities.round(9))
        return found

    def area(self, scores: np.ndarray, level: float = 0.95) -> Estimate:
        """Return the AUC, for more than two classes the mean of one against the rest."""
        if self.classes == 2:
            positive = self.labels == self.positive
            return auc_interval(
                positive, scores[:, self.positive], level=level, groups=self.patients
            )

        def mean_area(weights: np.ndarray) -> np.ndarray:
            areas = [
                weighted_auc(weights, self.labels == k, scores[:, k]) for k in range(self.classes)
            ]
            return np.asarray(np.mean(areas, axis=0))

        return bootstrap_estimate(
            mean_area,
            self.labels == 0,
            replicates=_REPLICATES,
            level=level,
            groups=self.patients,
            stratified=False,
        )

    def p_value(self, scores: np.ndarray) -> float:
        """Return the two-sided p-value of AUC = 0.5, and 1 where the AUC is 0.5 or less.

        It is 1 minus the highest level at which DeLong's interval (by patient) lies above 0.5. For
        more than two classes it is the smallest p-value of one class against the rest, times the
        number of classes (Bonferroni).
        """
        tested = [self.positive] if self.classes == 2 else range(self.classes)
        values = [_p_above_half(self, k, scores[:, k]) for k in tested]
        return min(1.0, len(values) * min(values))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Return the ranks of some values, 0–1, ties averaged."""
    ordered = np.sort(values)
    sides = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    return np.asarray(sum(sides) / (2 * len(values)))


def _p_above_half(task: Task, number: int, scores: np.ndarray) -> float:
    positive = task.labels == number

    def excludes(p: float) -> bool:
        low = auc_interval(positive, scores, level=1 - p, groups=task.patients).low
        return low is not None and low > 0.5

    if not excludes(0.999):
        return 1.0
    if excludes(_SMALLEST_P):
        return _SMALLEST_P
    low, high = log(_SMALLEST_P), 0.0
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (low, middle) if excludes(exp(middle)) else (middle, high)
    return exp(high)


def logistic(train: np.ndarray, labels: np.ndarray, test: np.ndarray, classes: int) -> np.ndarray:
    """Fit ridge logistic regression of each class against the rest, and return probabilities.

    The penalty is half the sum of squared slopes. Each step minimises the quadratic bound of the
    loss by Böhning & Lindsay (Ann Inst Stat Math 1988;40:641), so that the loss never rises.

    Returns
    -------
    numpy.ndarray, shape (test cases, classes)
    """
    known, asked = (np.column_stack([np.ones(len(x)), x]) for x in (train, test))
    truth = (labels[:, None] == np.arange(classes)).astype(float)
    penalty = np.full(known.shape[1], 1.0)
    penalty[0] = 1e-6  # the intercept is not penalised
    step = np.linalg.inv(known.T @ known / 4 + np.diag(penalty)) @ known.T
    shrink = np.linalg.inv(known.T @ known / 4 + np.diag(penalty)) * penalty
    slopes = np.zeros((known.shape[1], classes))
    for _ in range(_STEPS):
        slopes += step @ (truth - expit(known @ slopes)) - shrink @ slopes
    return np.asarray(expit(asked @ slopes))


def association(task: Task, features: np.ndarray) -> float:
    """Return the p-value of the class being associated with features (F-test of a regression).

    One row a patient: the mean of the features, and the share of cases of a class. DeLong's
    interval of out-of-fold scores leaves out that the fit varies, and its p-value would be up to
    four times too small; this test involves no fit on a part. More than two classes: the smallest
    p-value of one class against the rest, times their number (Bonferroni).
    """
    patients = np.bincount(task.patients)
    rows = np.stack(
        [np.bincount(task.patients, column) / patients for column in features.T], axis=1
    )
    rows -= rows.mean(axis=0)
    directions, sizes, _ = np.linalg.svd(rows, full_matrices=False)
    directions = directions[:, sizes > 1e-9 * max(sizes.max(), 1e-9)]
    rank, count = directions.shape[1], len(rows)
    if not rank or count - 1 <= rank:
        return 1.0
    values = []
    for k in [task.positive] if task.classes == 2 else range(task.classes):
        share = np.bincount(task.patients, task.labels == k) / patients
        share = share - share.mean()
        explained = float(((directions.T @ share) ** 2).sum() / (share**2).sum())
        ratio = (explained / rank) / max((1 - explained) / (count - 1 - rank), 1e-12)
        values.append(float(fdtrc(rank, count - 1 - rank, ratio)))
    return min(1.0, len(values) * min(values))


def shortcut_findings(columns: Sequence[AuditColumn], settings: Settings) -> list[Finding]:
    """Test every column, and adjust the p-values by Holm over all columns that were tested."""
    level = settings.evaluation.confidence
    results: list[tuple[AuditColumn, Estimate, float] | Finding] = []
    for column in columns:
        features = column.features()
        task = None if column.is_constant else Task.of(column.cases, settings)
        if task is None or not features.shape[1]:
            results.append(_untested(column, features))
            continue
        area = task.area(task.out_of_fold(features, logistic), level)
        results.append((column, area, association(task, features)))
    tested = [result for result in results if isinstance(result, tuple)]
    # The lesion's size is no hypothesis: it is reported, and not tested.
    adjusted = iter(holm([None if c.kind == "lesion" else p for c, _, p in tested]))
    return [
        result if isinstance(result, Finding) else _finding(*result[:2], next(adjusted))
        for result in results
    ]


def _untested(column: AuditColumn, features: np.ndarray) -> Finding:
    if column.is_constant:
        verdict = "equal in all cases" if any(column.cells) else "empty"
        return Finding("columns", column.name, "clear", f"{verdict}: it cannot tell the class")
    if not features.shape[1]:
        verdict = "free text: its levels do not repeat"
        return Finding("columns", column.name, "information", verdict)
    verdict = "a class has fewer than two patients"
    return Finding("columns", column.name, "open", verdict, remedy="add patients of that class")


def _finding(column: AuditColumn, area: Estimate, p: float | None) -> Finding:
    found = p is not None and p < ALPHA and area.low is not None and area.low > 0.5
    state: State = "clear"
    verdict, remedy = "no sign that it predicts the class", ""
    if column.kind == "lesion":
        state = "information"
        verdict = "biology: a network must exceed this AUC to show more than the lesion's size"
    elif found and column.kind == "biology" and (area.value or 0) < _GIVEAWAY_AUC:
        state = "information"
        verdict = "it predicts the class; expected of a biological column"
        remedy = "report it in Table 1; compare the network with this column alone"
    elif found and column.kind == "acquisition":
        state = "problem"
        verdict = "the scan, without the lesion, predicts the class: a network can learn the scan"
        remedy = (
            f"match the classes by {column.name}, or add the missing combinations; else report "
            "the results within its levels"
        )
    elif found and column.kind == "centre":
        state = "problem"
        verdict = "the centre predicts the class: a pooled AUC measures the centre"
        remedy = "report each centre by itself; a centre needs cases of every class"
    elif found and column.kind == "order":
        state = "attention"
        verdict = "the table is sorted by class, or the classes were collected at different times"
        remedy = "compare dates and scanners of the classes; ctbone itself does not use the order"
    elif found and (area.value or 0) >= _GIVEAWAY_AUC:
        state = "problem"
        verdict = "it alone predicts the class almost perfectly: it may follow from the diagnosis"
        remedy = "leave it out unless it is known before the diagnosis"
    elif found:
        state = "attention"
        verdict = "it predicts the class"
        remedy = "if it describes the patient, report it in Table 1; if the scan, match by it"
    return Finding(
        check="columns",
        subject=column.name,
        state=state,
        verdict=verdict,
        remedy=remedy,
        measure="AUC",
        value=area,
        p=p,
    )
