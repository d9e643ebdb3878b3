"""The tables of results: at a glance, every metric, per fold, comparisons, curves, fusion weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.many_classes import MANY_CLASS_METRICS
from ctbone.report.metrics import FOLD_METRICS, METRICS, Judgement
from ctbone.report.table import Cell, Column, Row, Table, plain_table
from ctbone.stats import DecisionCurve, Estimate, decision_curve, treat_all, treat_none

TITLES = {
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
    "calibration_intercept": "Calibration intercept",
    "calibration_slope": "Calibration slope",
    "ece": "ECE",
    "ici": "ICI",
    "observed_expected": "Observed / expected",
}
_GLANCE = ("auc", "sensitivity", "specificity", "accuracy", "brier")


def glance_table(judged: JudgedSet) -> Table:
    """Show the models side by side: AUC, sensitivity, specificity, accuracy and Brier score."""
    names = _GLANCE if judged.cases.answers[0].two_class else MANY_CLASS_METRICS
    columns = [Column("model", "Model", "text"), Column("n", "Cases"), *_estimates(names)]
    rows = [(j.name, j.n, *(j.estimates.get(name) for name in names)) for j in judged.judgements]
    return plain_table(f"summary_{judged.cases.key}", judged.cases.title, columns, rows)


def metric_table(judged: JudgedSet) -> Table:
    """Show every metric of every model: one row a metric, one column a model."""
    two = judged.cases.answers[0].two_class
    names = (*METRICS, *sorted(set(judged.judgements[0].estimates) - set(METRICS))) if two else MANY_CLASS_METRICS
    columns = [Column("metric", "Metric", "text"), *(Column(j.name, j.name, "estimate") for j in judged.judgements)]
    rows = [(TITLES.get(name, name), *(j.estimates[name] for j in judged.judgements)) for name in names]
    return plain_table(f"metrics_{judged.cases.key}", f"Every metric, {_lower(judged)}", columns, rows)


def fold_table(judged: JudgedSet) -> Table:
    """Show each model per fold, the mean of the folds, and pooled over them, with the counts."""
    two = judged.cases.answers[0].two_class
    names = FOLD_METRICS if two else MANY_CLASS_METRICS
    columns = [Column("model", "Model", "text"), Column("fold", "Fold", "text"), *_estimates(names)]
    columns += [Column(count.lower(), count) for count in ("TN", "FP", "FN", "TP")] if two else []
    rows: list[Row] = []
    for judgement in judged.judgements:
        parts: list[tuple[str, Judgement]] = [(str(fold), part) for fold, part in judgement.folds.items()]
        opening = True
        for fold, part in parts:
            rows.append(Row((judgement.name if opening else "", fold, *_values(part, names, two)), opens=opening))
            opening = False
        if judgement.mean_of_folds:
            means = [judgement.mean_of_folds.get(name) for name in names]
            rows.append(Row(("", "mean of folds", *means, *([None] * 4 if two else [])), "strong"))
        if judged.cases.key != "validation":
            label = "pooled" if parts else "all"
            first = judgement.name if opening else ""
            rows.append(Row((first, label, *_values(judgement, names, two)), "strong", opening))
    csv_rows = _with_model_names(rows)
    note = {
        "internal": "Pooled: all cases together, each answered by the one model of the fold that tested it. Mean of "
        "folds: the average of the folds' values, its interval from a bootstrap of patients within the folds.",
        "validation": "These cases chose the epochs and the fusions' weights; the numbers are optimistic and shown "
        "for completeness. A patient may validate more than one fold, so nothing is pooled.",
        "external": "Each case by the mean of the folds' models.",
    }[judged.cases.key]
    return Table(f"folds_{judged.cases.key}", f"Per fold, {_lower(judged)}", tuple(columns), csv_rows, note)


def _with_model_names(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Repeat the model's name in each row: a CSV is read row by row; the page blanks repeats itself."""
    name: Cell = ""
    full = []
    for row in rows:
        name = row.cells[0] or name
        full.append(Row((name, *row.cells[1:]), row.weight, row.opens))
    return tuple(full)


def confusion_table(judged: JudgedSet) -> Table:
    """Show the counts of every model, one row a model and true class."""
    answers = judged.cases.answers[0]
    order = ordered_classes(answers.classes, answers.positive)
    columns = [Column("model", "Model", "text"), Column("true_class", "True class", "text")]
    columns += [Column(f"called_{name}", f"Called {name}") for name in order]
    rows = [
        Row((j.name, name, *map(int, j.matrix[number])), opens=number == 0)
        for j in judged.judgements
        for number, name in enumerate(order)
    ]
    return Table(f"confusion_{judged.cases.key}", f"Confusion, {_lower(judged)}", tuple(columns), tuple(rows))


def ordered_classes(classes: Sequence[str], positive: str) -> list[str]:
    """Put the classes into the order of the confusion matrix: with two, the positive one last.

    Examples
    --------
    >>> ordered_classes(("malignant", "benign"), "malignant")
    ['benign', 'malignant']
    """
    return [name for name in classes if name != positive] + [positive] if len(classes) == 2 else list(classes)


def comparison_table(judged: JudgedSet) -> Table:
    """Show every two models: difference of the AUCs, its interval, and the p-value before and after Holm."""
    columns = [
        Column("a", "Model A", "text"),
        Column("b", "Model B", "text"),
        Column("n", "Cases"),
        Column("difference", "AUC, A − B", "estimate"),
        Column("statistic", "z", digits=2),
        Column("p_value", "p", "p"),
        Column("p_value_holm", "p, Holm", "p"),
    ]
    rows = [
        (
            c.a,
            c.b,
            c.n,
            Estimate(c.result.difference, c.result.low, c.result.high, c.result.method, c.result.why),
            c.result.statistic,
            c.result.p_value,
            c.adjusted,
        )
        for c in judged.comparisons
    ]
    return plain_table(f"comparisons_{judged.cases.key}", f"Comparisons, {_lower(judged)}", columns, rows)


def decision_table(analysis: Analysis, judged: JudgedSet, curves: Mapping[str, DecisionCurve]) -> Table:
    """List the net benefit of every model over the thresholds, of treating all and of treating none."""
    columns = [Column("model", "Model", "text"), Column("threshold", "Threshold", digits=2)]
    columns += [Column(name, name) for name in ("net_benefit", "low", "high")]
    columns += [Column(name, name) for name in ("standardized_net_benefit", "interventions_avoided")]
    rows: list[tuple[Cell, ...]] = []
    for name, curve in curves.items():
        content = (
            curve.thresholds,
            curve.net_benefit,
            curve.low,
            curve.high,
            curve.standardized_net_benefit,
            curve.interventions_avoided,
        )
        rows += [(name, *map(float, values)) for values in zip(*content, strict=True)]
    leading = judged is analysis.lead
    key = "decision_curve" if leading else f"decision_curve_{judged.cases.key}"
    return plain_table(key, f"Decision curves, {_lower(judged)}", columns, rows)


def decision_curves(analysis: Analysis, judged: JudgedSet, *, bands: bool = True) -> dict[str, DecisionCurve]:
    """Compute the decision curve of every model, and ``treat_all`` and ``treat_none``."""
    settings = analysis.settings
    curves = {}
    for answers in judged.cases.answers:
        replicates = settings.bootstrap if bands and len(answers) <= 20_000 else 0
        curves[answers.name] = decision_curve(
            answers.truth,
            answers.p,
            replicates=replicates,
            level=settings.confidence,
            seed=settings.seed,
            groups=answers.patients,
        )
    truth = judged.cases.answers[0].truth
    return {**curves, "treat_all": treat_all(truth), "treat_none": treat_none(truth)}


def _estimates(names: Sequence[str]) -> list[Column]:
    return [Column(name, TITLES.get(name, name), "estimate") for name in names]


def _values(judgement: Judgement, names: Sequence[str], two: bool) -> list[Cell]:
    cells: list[Cell] = [judgement.estimates[name] for name in names]
    if two:
        cells += [int(count) for count in np.ravel(judgement.matrix)]
    return cells


def _lower(judged: JudgedSet) -> str:
    return judged.cases.title[0].lower() + judged.cases.title[1:]
