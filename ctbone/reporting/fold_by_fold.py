"""The section of the results fold by fold, and the table of every fold for the CSV."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.document import (
    Cell,
    MatrixCell,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    plain_table,
)
from ctbone.reporting.analysis import Analysis, JudgedSet, Judgement
from ctbone.reporting.metrics import FOLD_METRICS, MANY_CLASS_METRICS, metric_columns
from ctbone.stats import Estimate


def fold_section(analysis: Analysis, fusions: Sequence[str]) -> Section | None:
    """Show models and fusions fold by fold; None if no case has a fold."""
    if not any(j.folds for judged in analysis.sets for j in judged.judgements):
        return None
    models = [name for name in analysis.models if name not in fusions]
    tables = [("cross_validation", "Models and reader" if "reader" in models else "Models", models)]
    tables += [
        (
            "cross_validation_fusion",
            "Fusions",
            [name for name in analysis.models if name in fusions],
        )
    ]
    shown = (
        TableBlock(cross_validation_table(analysis, key=key, title=title, models=names))
        for key, title, names in tables
        if names
    )
    return Section("folds", "Fold by fold", tuple(shown))


def cross_validation_table(
    analysis: Analysis, key: str, title: str, models: Sequence[str]
) -> Table:
    """Show some models fold by fold: validation, internal and external test side by side.

    Parameters
    ----------
    analysis
        The judged sets.
    key, title
        Key and title of the table.
    models
        The models in the table.
    """
    order = {"validation": "Validation", "internal": "Internal test", "external": "External test"}
    sets = [judged for name in order if (judged := analysis.of(name)) is not None]
    columns = [
        TableColumn("model", "Model", "text", titles=analysis.titles),
        TableColumn("fold", "Fold", "text"),
    ]
    for judged in sets:
        name, heading = judged.case_set.key, order[judged.case_set.key]
        columns += [TableColumn(f"{name}_auc", "AUC", "estimate", group=heading)]
        columns += [TableColumn(f"{name}_f1", "F1", "estimate", group=heading)]
        columns += [TableColumn(f"{name}_confusion", "Confusion", group=heading)]
    rows: list[TableRow] = []
    for model in models:
        found = {judged.case_set.key: _of_model(judged, model) for judged in sets}
        folds = sorted(
            {fold for judgement in found.values() if judgement for fold in judgement.folds}
        )
        for fold in folds:
            parts = [
                judgement.folds.get(fold) if judgement else None for judgement in found.values()
            ]
            cells = [_value_alone(cell) for cell in _fold_cells(parts)]
            rows.append(TableRow((model, str(fold), *cells), opens=fold == folds[0]))
        if folds:
            means = [_mean_cells(judgement) for judgement in found.values()]
            rows.append(
                TableRow((model, "mean", *(cell for cells in means for cell in cells)), "strong")
            )
        pooled = [None if name == "validation" else judgement for name, judgement in found.items()]
        rows.append(TableRow((model, "pooled", *_fold_cells(pooled)), "strong", opens=not folds))
    return Table(key=key, title=title, columns=tuple(columns), rows=tuple(rows), note=_FOLD_NOTE)


_FOLD_NOTE = (
    "Confusion: true negatives and false positives above, false negatives and true positives "
    "below. Single folds without intervals: tables/folds_*.csv have them. Mean: average over the "
    "folds, with an interval from a bootstrap of patients over all folds; with two classes, "
    "stratified by class. Pooled: all cases together; an internal case counts with the fold that "
    "tests it, an external case with the mean over the folds. Epochs and weights of fusions are "
    "chosen on validation cases, so numbers on these are optimistic; a patient can be in the "
    "validation set of several folds, so they are not pooled."
)


def _value_alone(cell: Cell) -> Cell:
    """Return the value of an estimate; the interval of a single fold is in the CSV of the folds."""
    return cell.value if isinstance(cell, Estimate) and cell.value is not None else cell


def _of_model(judged: JudgedSet, model: str) -> Judgement | None:
    return next((judgement for judgement in judged.judgements if judgement.name == model), None)


def _fold_cells(parts: Sequence[Judgement | None]) -> list[Cell]:
    cells: list[Cell] = []
    for part in parts:
        if part is None:
            cells += ["", "", ""]
        else:
            counts = MatrixCell(tuple(tuple(row) for row in part.matrix.tolist()))
            cells += [part.estimates["auc"], part.estimates["f1"], counts]
    return cells


def _mean_cells(judgement: Judgement | None) -> list[Cell]:
    if judgement is None or not judgement.mean_of_folds:
        return ["", "", ""]
    return [judgement.mean_of_folds["auc"], judgement.mean_of_folds["f1"], ""]


def fold_table(judged: JudgedSet) -> Table:
    """List every model per fold, mean of the folds and pooled, with confusion, for the CSV."""
    two = judged.case_set.scored[0].two_class
    names = FOLD_METRICS if two else MANY_CLASS_METRICS
    columns = [
        TableColumn("model", "Model", "text"),
        TableColumn("fold", "Fold", "text"),
        *metric_columns(names),
    ]
    columns += (
        [TableColumn(count.lower(), count) for count in ("TN", "FP", "FN", "TP")] if two else []
    )
    rows: list[tuple[Cell, ...]] = []
    for judgement in judged.judgements:
        rows += [
            (judgement.name, str(fold), *_values(part, names, two))
            for fold, part in judgement.folds.items()
        ]
        if judgement.mean_of_folds:
            means = [judgement.mean_of_folds.get(name) for name in names]
            rows.append((judgement.name, "mean of folds", *means, *([None] * 4 if two else [])))
        if judged.case_set.key != "validation":
            rows.append((judgement.name, "pooled", *_values(judgement, names, two)))
    return plain_table(
        key=f"folds_{judged.case_set.key}",
        title=f"Per fold, {judged.case_set.inline_title}",
        columns=columns,
        rows=rows,
    )


def _values(judgement: Judgement, names: Sequence[str], two: bool) -> list[Cell]:
    cells: list[Cell] = [judgement.estimates[name] for name in names]
    if two:
        cells += [int(count) for count in np.ravel(judgement.matrix)]
    return cells
