"""Who was studied: the flow of the cases, and the baseline table of every clinical column."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctbone.clinical import clinical_column, number_of
from ctbone.cohort import Case, Cohort
from ctbone.document.page import Flow, FlowBox
from ctbone.document.table import Cell, Column, Row, Table, number
from ctbone.report.analysis import Analysis
from ctbone.stats import (
    CategoricalComparison,
    CategoricalSummary,
    compare_categorical,
    compare_continuous,
)
from ctbone.stats.group_tests import CategoricalTest
from ctbone.study import Study, read_table

_MOST_REASONS = 4


def flow(study: Study, cohort: Cohort, analysis: Analysis) -> Flow:
    """Draw how the cases of the cohort became the cases of each set, and who was left out, and why."""
    judged = {
        str(case)
        for of_set in analysis.sets
        for answers in of_set.cases.answers
        for case in answers.cases["case_id"]
    }
    reasons = _reasons(study.preprocess_csv)
    left_out = [case for case in cohort if case.case_id not in judged]
    counted = Counter(reasons.get(case.case_id, "no probability") for case in left_out)
    aside = [f"{count} × {reason}" for reason, count in counted.most_common(_MOST_REASONS)]
    if len(counted) > _MOST_REASONS:
        aside.append(
            f"{sum(counted.values()) - sum(n for _, n in counted.most_common(_MOST_REASONS))} × other reasons"
        )
    boxes = []
    for title, cases in (("Internal", cohort.internal), ("External", cohort.external)):
        kept = [case for case in cases if case.case_id in judged]
        if kept:
            boxes.append(_box(title, kept, study))
    return Flow(
        FlowBox(
            f"{_cases(len(cohort))} in the cohort",
            (f"{len({case.patient_id for case in cohort})} patients",),
            tuple(boxes),
            (f"{_cases(len(left_out))} left out", *aside) if left_out else (),
        )
    )


def _box(title: str, cases: Sequence[Case], study: Study) -> FlowBox:
    labels = Counter(case.label for case in cases)
    lines = [", ".join(f"{labels[name]} {name}" for name in study.settings.classes)]
    centres = Counter(case.cohort for case in cases)
    if title == "External":
        lines.append(", ".join(f"{name}: {count}" for name, count in sorted(centres.items())))
    else:
        lines.append(f"{study.settings.folds.count} folds by patient")
    return FlowBox(f"{title}: {_cases(len(cases))}", tuple(lines))


def _reasons(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    table = read_table(path, ("case_id", "status"))
    if "reason" not in table:
        return {}
    rows = zip(table["case_id"], table["reason"], strict=True)
    return {str(case): str(reason).split("\n")[0] for case, reason in rows if reason}


def _cases(count: int) -> str:
    return f"{count} case{'s' * (count != 1)}"


def baseline_table(cohort: Cohort, classes: Sequence[str]) -> Table:
    """Show every clinical column by cohort and class: Table 1 of a paper.

    A column of numbers is summarised as mean ± SD and compared by Welch's test, any other by counts, compared by χ²
    (two by two with Yates' correction). A column with more than a dozen different texts is left out: it is free text,
    or tells who a patient is.
    """
    groups = [
        (title, cases)
        for title, cases in (("Internal", cohort.internal), ("External", cohort.external))
        if cases
    ]
    columns = [Column("characteristic", "Characteristic", "text"), Column("level", "", "text")]
    for title, _ in groups:
        key = title.lower()
        columns.append(Column(f"{key}_all", "all", "number", group=title))
        columns += [Column(f"{key}_{name}", name, "number", group=title) for name in classes]
        columns += [
            Column(f"{key}_p", "p", "p", group=title),
            Column(f"{key}_smd", "SMD", digits=2, group=title),
        ]
    rows = [Row(("Cases", "", *_counts(groups, classes)))]
    patients = [
        (title, list({case.patient_id: case for case in cases}.values())) for title, cases in groups
    ]
    if any(len(few) < len(many) for (_, few), (_, many) in zip(patients, groups, strict=True)):
        rows.append(Row(("Patients", "", *_counts(patients, classes))))
    names = list(dict.fromkeys(name for case in cohort for name, _ in case.metadata))
    left_out = []
    for name in names:
        column = clinical_column(cohort.cases, name)
        kind, why = column.kind_in_table()
        if kind == "number":
            rows += _continuous_rows(name, groups, classes)
        elif kind == "level":
            rows += _level_rows(name, groups, classes, column.levels)
        else:
            left_out.append(f"{name} ({why})")
    note = (
        "Numbers: mean ± SD, Welch's test (analysis of variance with more than two classes). Counts: with their share "
        "of the known values in percent, χ² test, with Yates' correction where two by two. p compares the classes "
        "within a cohort and is not adjusted. SMD: standardised mean difference."
    )
    if left_out:
        note += f" Not shown: {', '.join(left_out)}."
    return Table("baseline", "Baseline characteristics", tuple(columns), tuple(rows), note)


def _counts(groups: Sequence[tuple[str, Sequence[Case]]], classes: Sequence[str]) -> list[Cell]:
    cells: list[Cell] = []
    for _, cases in groups:
        labels = Counter(case.label for case in cases)
        cells += [len(cases), *(labels[name] for name in classes), "", ""]
    return cells


def _continuous_rows(
    name: str, groups: Sequence[tuple[str, Sequence[Case]]], classes: Sequence[str]
) -> list[Row]:
    cells: list[Cell] = []
    missing: list[Cell] = []
    for _, cases in groups:
        values = np.array(
            [number_of(dict(case.metadata).get(name, "")) for case in cases], dtype=float
        )
        by_class = compare_continuous(
            values, [case.label for case in cases], test="welch", groups=classes
        )
        whole = compare_continuous(values, ["all"] * len(cases), groups=["all", ""]).groups[0]
        summaries = [whole, *by_class.groups]
        cells += [f"{number(s.mean, 1)} ± {number(s.sd, 1)}" if s.n else "–" for s in summaries]
        cells += [by_class.test.p_value, by_class.smd]
        missing += [*(s.missing for s in summaries), "", ""]
    rows = [Row((name, "mean ± SD", *cells), opens=True)]
    return [*rows, Row((name, "missing", *missing))] if any(missing) else rows


def _level_rows(
    name: str,
    groups: Sequence[tuple[str, Sequence[Case]]],
    classes: Sequence[str],
    levels: Sequence[str],
) -> list[Row]:
    compared = [_by_class(name, cases, classes, levels) for _, cases in groups]
    rows = []
    for place, level in enumerate(levels):
        cells: list[Cell] = []
        for of_all, by_class in compared:
            for group in (of_all, *by_class.groups):
                share = group.percent[place]
                cells.append(f"{group.counts[place]} ({number(share, 1)})")
            first = place == 0
            cells += [by_class.test.p_value, by_class.smd] if first else ["", ""]
        rows.append(Row((name, level, *cells), opens=place == 0))
    if any(of_all.missing for of_all, _ in compared):
        cells = []
        for of_all, by_class in compared:
            cells += [*(group.missing for group in (of_all, *by_class.groups)), "", ""]
        rows.append(Row((name, "missing", *cells)))
    return rows


def _by_class(
    name: str, cases: Sequence[Case], classes: Sequence[str], levels: Sequence[str]
) -> tuple[CategoricalSummary, CategoricalComparison]:
    values = [dict(case.metadata).get(name, "") for case in cases]
    occur = len({value for value in values if value})
    test: CategoricalTest = "yates" if len(classes) == 2 and occur == 2 else "chi-squared"
    by_class = compare_categorical(
        values, [case.label for case in cases], test=test, groups=classes, categories=levels
    )
    of_all = compare_categorical(
        values, ["all"] * len(cases), groups=["all", ""], categories=levels
    ).groups[0]
    return of_all, by_class
