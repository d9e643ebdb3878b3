"""The tables of results: at a glance, every metric, per fold, Hosmer–Lemeshow, comparisons, decision curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ctbone.document.table import Cell, Column, Counts, Row, Table, plain_table
from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.dangerous_errors import dangerous_title
from ctbone.report.many_classes import MANY_CLASS_METRICS
from ctbone.report.metrics import FOLD_METRICS, Judgement, judge, resamples_for
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
_GLANCE = ("auc", "sensitivity", "specificity", "accuracy", "brier")


def metric_title(name: str) -> str:
    """Return a metric's name as a reader should see it.

    Examples
    --------
    >>> metric_title("auc"), metric_title("malignant_called_normal")
    ('AUC', 'malignant called normal')
    """
    return TITLES.get(name) or dangerous_title(name)


def glance_table(judged: JudgedSet) -> Table:
    """Show the models side by side: AUC, sensitivity, specificity, accuracy and Brier score."""
    names = _GLANCE if judged.cases.answers[0].two_class else MANY_CLASS_METRICS
    columns = [Column("model", "Model", "text"), Column("n", "Cases"), *_estimates(names)]
    rows: list[list[Cell]] = [
        [j.name, j.n, *(j.estimates.get(name) for name in names)] for j in judged.judgements
    ]
    return plain_table(f"summary_{judged.cases.key}", judged.cases.title, columns, rows)


def centre_table(analysis: Analysis, judged: JudgedSet) -> Table | None:
    """Show each model centre by centre; None where there are fewer than two centres."""
    centres = tuple(
        dict.fromkeys(name for answers in judged.cases.answers for name in answers.cohorts)
    )
    if len(centres) < 2:
        return None
    two = judged.cases.answers[0].two_class
    names = _GLANCE if two else MANY_CLASS_METRICS
    columns = [
        Column("centre", "Centre", "text"),
        Column("model", "Model", "text"),
        Column("n", "Cases"),
    ]
    columns += ([Column("positives", "Positive")] if two else []) + _estimates(names)
    rows = []
    for centre in centres:
        for number, answers in enumerate(judged.cases.answers):
            own = answers.of_cohort(centre)
            if not len(own):
                continue
            found = judge(own, analysis.settings, bands=False)
            counts: list[Cell] = [found.n, found.positives] if two else [found.n]
            rows.append(
                Row(
                    (centre, found.name, *counts, *(found.estimates[n] for n in names)),
                    opens=number == 0,
                )
            )
    note = "Each centre by itself; the thresholds are those of the whole set."
    return Table(
        f"centres_{judged.cases.key}",
        f"Centre by centre, {_lower(judged)}",
        tuple(columns),
        tuple(rows),
        note,
    )


def class_table(analysis: Analysis, judged: JudgedSet) -> Table:
    """Show each class against the rest: AUC, Brier score and calibration of every model."""
    names = ("auc", "brier", "calibration_intercept", "calibration_slope", "ici")
    columns = [
        Column("model", "Model", "text"),
        Column("class", "Class", "text"),
        Column("n", "Cases of it"),
    ]
    settings = analysis.settings.model_copy(
        update={"dangerous_error": None}
    )  # the rest has no name
    rows = []
    for answers in judged.cases.answers:
        for place, name in enumerate(answers.classes):
            found = judge(answers.against_rest(name), settings, bands=False)
            values = [found.estimates[metric] for metric in names]
            rows.append(Row((answers.name, name, found.positives, *values), opens=place == 0))
    columns += _estimates(names)
    return Table(
        f"classes_{judged.cases.key}",
        f"One against the rest, {_lower(judged)}",
        tuple(columns),
        tuple(rows),
    )


def metric_table(judged: JudgedSet) -> Table:
    """Show every metric of every model: one row a metric, one column a model."""
    names = tuple(judged.judgements[0].estimates)
    columns = [
        Column("metric", "Metric", "text"),
        *(Column(j.name, j.name, "estimate") for j in judged.judgements),
    ]
    rows: list[list[Cell]] = [
        [metric_title(name), *(j.estimates[name] for j in judged.judgements)] for name in names
    ]
    return plain_table(
        f"metrics_{judged.cases.key}", f"Every metric, {_lower(judged)}", columns, rows
    )


def fold_table(judged: JudgedSet) -> Table:
    """List each model per fold, the mean of the folds, and pooled over them, with the counts: for the CSV."""
    two = judged.cases.answers[0].two_class
    names = FOLD_METRICS if two else MANY_CLASS_METRICS
    columns = [Column("model", "Model", "text"), Column("fold", "Fold", "text"), *_estimates(names)]
    columns += [Column(count.lower(), count) for count in ("TN", "FP", "FN", "TP")] if two else []
    rows: list[tuple[Cell, ...]] = []
    for judgement in judged.judgements:
        rows += [
            (judgement.name, str(fold), *_values(part, names, two))
            for fold, part in judgement.folds.items()
        ]
        if judgement.mean_of_folds:
            means = [judgement.mean_of_folds.get(name) for name in names]
            rows.append((judgement.name, "mean of folds", *means, *([None] * 4 if two else [])))
        if judged.cases.key != "validation":
            rows.append((judgement.name, "pooled", *_values(judgement, names, two)))
    return plain_table(f"folds_{judged.cases.key}", f"Per fold, {_lower(judged)}", columns, rows)


def cross_validation_table(
    analysis: Analysis, key: str, title: str, models: Sequence[str]
) -> Table:
    """Show some models fold by fold, validation, internal and external test side by side, as the main paper does.

    Parameters
    ----------
    analysis
        The numbers.
    key, title
        Of the table.
    models
        Which models.
    """
    order = {"validation": "Validation", "internal": "Internal test", "external": "External test"}
    sets = [judged for name in order if (judged := analysis.of(name)) is not None]
    columns = [Column("model", "Model", "text"), Column("fold", "Fold", "text")]
    for judged in sets:
        name, heading = judged.cases.key, order[judged.cases.key]
        columns += [Column(f"{name}_auc", "AUC", "estimate", group=heading)]
        columns += [Column(f"{name}_f1", "F1", "estimate", group=heading)]
        columns += [Column(f"{name}_confusion", "Confusion", group=heading)]
    rows: list[Row] = []
    for model in models:
        found = {judged.cases.key: _of_model(judged, model) for judged in sets}
        folds = sorted(
            {fold for judgement in found.values() if judgement for fold in judgement.folds}
        )
        for fold in folds:
            parts = [
                judgement.folds.get(fold) if judgement else None for judgement in found.values()
            ]
            rows.append(Row((model, str(fold), *_fold_cells(parts)), opens=fold == folds[0]))
        if folds:
            means = [_mean_cells(judgement) for judgement in found.values()]
            rows.append(
                Row((model, "mean", *(cell for cells in means for cell in cells)), "strong")
            )
        pooled = [None if name == "validation" else judgement for name, judgement in found.items()]
        rows.append(Row((model, "pooled", *_fold_cells(pooled)), "strong", opens=not folds))
    return Table(key, title, tuple(columns), tuple(rows), _FOLD_NOTE)


_FOLD_NOTE = (
    "Confusion: true negatives and false positives above, false negatives and true positives below. Mean: average of "
    "the folds' values, with an interval from a bootstrap of patients over all folds, with two classes stratified by "
    "class. Pooled: all cases together; "
    "internally each by the one model of the fold that tested it, externally by the mean of the folds' models. The "
    "validation cases chose the epochs and the fusions' weights, so their numbers are optimistic; a patient may "
    "validate more than one fold, so they are not pooled."
)


def _of_model(judged: JudgedSet, model: str) -> Judgement | None:
    return next((judgement for judgement in judged.judgements if judgement.name == model), None)


def _fold_cells(parts: Sequence[Judgement | None]) -> list[Cell]:
    cells: list[Cell] = []
    for part in parts:
        if part is None:
            cells += ["", "", ""]
        else:
            counts = Counts(tuple(tuple(row) for row in part.matrix.tolist()))
            cells += [part.estimates["auc"], part.estimates["f1"], counts]
    return cells


def _mean_cells(judgement: Judgement | None) -> list[Cell]:
    if judgement is None or not judgement.mean_of_folds:
        return ["", "", ""]
    return [judgement.mean_of_folds["auc"], judgement.mean_of_folds["f1"], ""]


def hosmer_lemeshow_table(judged: JudgedSet) -> Table | None:
    """Show the Hosmer–Lemeshow test of every model; None where there are more than two classes."""
    tests = {
        j.name: (j.n, j.hosmer_lemeshow) for j in judged.judgements if j.hosmer_lemeshow is not None
    }
    if not tests:
        return None
    columns = [
        Column("model", "Model", "text"),
        Column("n", "Cases"),
        Column("statistic", "χ²", digits=2),
        Column("df", "df", digits=0),
        Column("p_value", "p", "p"),
        Column("method", "Method", "text"),
    ]
    rows = [
        (
            name,
            n,
            test.statistic,
            test.df,
            test.p_value,
            f"{test.method}; {test.why}" if test.why else test.method,
        )
        for name, (n, test) in tests.items()
    ]
    note = (
        "A small p speaks against the calibration. The test has little power with few cases and rejects any model with "
        "many: read the curve. Each case counts as a patient of its own."
    )
    return plain_table(
        f"hosmer_lemeshow_{judged.cases.key}",
        f"Hosmer–Lemeshow, {_lower(judged)}",
        columns,
        rows,
        note,
    )


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
    return Table(
        f"confusion_{judged.cases.key}", f"Confusion, {_lower(judged)}", tuple(columns), tuple(rows)
    )


def ordered_classes(classes: Sequence[str], positive: str) -> list[str]:
    """Put the classes into the order of the confusion matrix: with two, the positive one last.

    Examples
    --------
    >>> ordered_classes(("malignant", "benign"), "malignant")
    ['benign', 'malignant']
    """
    return (
        [name for name in classes if name != positive] + [positive]
        if len(classes) == 2
        else list(classes)
    )


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
            Estimate(
                c.result.difference, c.result.low, c.result.high, c.result.method, c.result.why
            ),
            c.result.statistic,
            c.result.p_value,
            c.adjusted,
        )
        for c in judged.comparisons
    ]
    return plain_table(
        f"comparisons_{judged.cases.key}", f"Comparisons, {_lower(judged)}", columns, rows
    )


def decision_table(
    analysis: Analysis, judged: JudgedSet, curves: Mapping[str, DecisionCurve]
) -> Table:
    """List the net benefit of every model over the thresholds, of treating all and of treating none."""
    columns = [Column("model", "Model", "text"), Column("threshold", "Threshold", digits=2)]
    columns += [Column(name, name) for name in ("net_benefit", "low", "high")]
    columns += [
        Column(name, name) for name in ("standardized_net_benefit", "interventions_avoided")
    ]
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


def decision_curves(
    analysis: Analysis, judged: JudgedSet, *, bands: bool = True
) -> dict[str, DecisionCurve]:
    """Compute the decision curve of every model, and ``treat_all`` and ``treat_none`` on all cases of the set."""
    settings = analysis.settings
    curves = {}
    for answers in judged.cases.answers:
        replicates = resamples_for(len(answers), settings) if bands else 0
        curves[answers.name] = decision_curve(
            answers.truth,
            answers.p,
            prevalence=settings.prevalence,
            replicates=replicates,
            level=settings.confidence,
            seed=settings.seed,
            groups=answers.patients,
        )
    truth = _truth_of_all(judged)
    return {
        **curves,
        "treat_all": treat_all(truth, prevalence=settings.prevalence),
        "treat_none": treat_none(truth, prevalence=settings.prevalence),
    }


def _truth_of_all(judged: JudgedSet) -> np.ndarray:
    """Labels of the cases of any model: those of the first, then what each further one adds."""
    truth, known = [], set[str]()
    for answers in judged.cases.answers:
        names = answers.cases["case_id"]
        truth.append(answers.truth[~names.isin(known).to_numpy()])
        known |= set(names)
    return np.concatenate(truth)


def _estimates(names: Sequence[str]) -> list[Column]:
    return [Column(name, metric_title(name), "estimate") for name in names]


def _values(judgement: Judgement, names: Sequence[str], two: bool) -> list[Cell]:
    cells: list[Cell] = [judgement.estimates[name] for name in names]
    if two:
        cells += [int(count) for count in np.ravel(judgement.matrix)]
    return cells


def _lower(judged: JudgedSet) -> str:
    return judged.cases.title[0].lower() + judged.cases.title[1:]
