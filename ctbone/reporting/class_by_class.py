"""Calls of each class, the dangerous error as counts, and calibration before and after.

These are the numbers of the three-class paper [1]_ that the tables of discrimination do not hold.

References
----------
.. [1] Ocak M, Çatak C. Diagnostics 2026;16:1811, doi:10.3390/diagnostics16121811.
"""

from __future__ import annotations

from collections.abc import Sequence

from ctbone.config import EvaluationSettings
from ctbone.document import Block, Cell, Section, Table, TableBlock, TableColumn, TableRow
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.fusion_records import RecalibrationRecord
from ctbone.reporting.metrics import dangerous_estimate, metric_columns, metric_title
from ctbone.stats import clustered_rates
from ctbone.stats.rates import RateName

_RATES: tuple[RateName, ...] = ("sensitivity", "ppv", "f1")
_CALIBRATION = {
    True: ("brier", "calibration_intercept", "calibration_slope", "ece", "ici"),
    False: ("brier", "ece"),
}
"""By whether there are two classes: the metrics that a recalibration can improve."""


def class_section(
    analysis: Analysis, recalibrations: Sequence[RecalibrationRecord]
) -> Section | None:
    """Show the calls of each class, the dangerous error, and calibration before and after.

    None with two classes, no dangerous error and no recalibration.
    """
    tables: list[Table | None] = []
    for judged in analysis.reported:
        if not analysis.two_class:
            tables.append(calls_table(judged, analysis.settings.confidence))
        tables.append(dangerous_table(judged, analysis.settings))
        tables.append(calibration_change_table(judged, recalibrations))
    blocks: tuple[Block, ...] = tuple(TableBlock(one) for one in tables if one is not None)
    return Section("classes", "Class by class", blocks) if blocks else None


def calls_table(judged: JudgedSet, level: float) -> Table:
    """Show sensitivity, PPV and F1 of each class, called by the highest probability."""
    rows = []
    for scored in judged.case_set.scored:
        truth, called = scored.class_numbers, scored.matrix.argmax(axis=1)
        for number, name in enumerate(scored.classes):
            own = truth == number
            rates = clustered_rates(own, called == number, scored.patients, level=level)
            values: list[Cell] = [scored.name, name, int(own.sum())]
            values += [rates[rate] for rate in _RATES]
            rows.append(TableRow(tuple(values), opens=number == 0))
    return Table(
        key=f"calls_{judged.case_set.key}",
        title=f"Calls of each class, {judged.case_set.inline_title}",
        columns=(
            TableColumn("model", "Model", "text"),
            TableColumn("class", "Class", "text"),
            TableColumn("n", "Cases of the class"),
            *metric_columns(_RATES),
        ),
        rows=tuple(rows),
        note="A case is called by its highest probability. F1 over all classes is the macro F1.",
    )


def dangerous_table(judged: JudgedSet, settings: EvaluationSettings) -> Table | None:
    """Show the dangerous error of every model as counts with its exact interval."""
    error = settings.dangerous_error
    if error is None:
        return None
    rows = []
    for scored in judged.case_set.scored:
        (estimate,) = dangerous_estimate(scored, settings).values()
        cases = int((scored.cases["label"] == error.truth).sum())
        wrong = None if estimate.value is None else round(estimate.value * cases)
        rows.append(TableRow((scored.name, cases, wrong, estimate)))
    return Table(
        key=f"dangerous_error_{judged.case_set.key}",
        title=f"{error.truth.capitalize()} called {error.called}, {judged.case_set.inline_title}",
        columns=(
            TableColumn("model", "Model", "text"),
            TableColumn("n", f"Cases of {error.truth}"),
            TableColumn("wrong", f"Called {error.called}"),
            TableColumn("share", "Share", "estimate", 4),
        ),
        rows=tuple(rows),
        note="Interval of Clopper and Pearson, by patient if several cases are of a patient.",
    )


def calibration_change_table(
    judged: JudgedSet, recalibrations: Sequence[RecalibrationRecord]
) -> Table | None:
    """Show the calibration of each recalibrated table, before and after; None without any."""
    found = {judgement.name: judgement for judgement in judged.judgements}
    pairs = [one for one in recalibrations if {one.of, one.name} <= set(found)]
    if not pairs:
        return None
    rows = []
    for one in pairs:
        for place, metric in enumerate(_CALIBRATION[judged.case_set.two_class]):
            before, after = (found[name].estimates[metric] for name in (one.of, one.name))
            cells: tuple[Cell, ...] = (one.name, metric_title(metric), before, after)
            rows.append(TableRow(cells, opens=place == 0))
    return Table(
        key=f"calibration_change_{judged.case_set.key}",
        title=f"Calibration before and after, {judged.case_set.inline_title}",
        columns=(
            TableColumn("table", "Recalibrated", "text"),
            TableColumn("metric", "Metric", "text"),
            TableColumn("before", "Before", "estimate"),
            TableColumn("after", "After", "estimate"),
        ),
        rows=tuple(rows),
        note="; ".join(f"{one.name}: {one.of}, {one.how}" for one in pairs) + ".",
    )
