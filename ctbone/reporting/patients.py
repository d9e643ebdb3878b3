"""The section on patients: flow chart of the cases, and baseline table of the clinical columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ctbone.clinical import clinical_column, number_of, with_unit
from ctbone.cohort import Case, Cohort
from ctbone.document import (
    Cell,
    Flow,
    FlowBox,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    number,
)
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.run_records import RunRecords
from ctbone.stats import (
    CategoricalComparison,
    CategoricalSummary,
    TestResult,
    compare_categorical,
    compare_continuous,
)
from ctbone.study import Study, read_table

_MOST_REASONS = 4  # listed in the flow chart


def patients_section(study: Study, cohort: Cohort, analysis: Analysis, runs: RunRecords) -> Section:
    """Show the flow of the cases and the baseline table."""
    table = baseline_table(cohort, study.settings.classes)
    chart = flow(study, cohort=cohort, analysis=analysis, runs=runs)
    return Section("patients", "Patients", (chart, TableBlock(table)))


def cases_without_result(cohort: Cohort, analysis: Analysis) -> list[Case]:
    """Return the cases that no reported result counts."""
    counted = set().union(*(judged.case_set.case_ids for judged in analysis.reported))
    return [case for case in cohort if case.case_id not in counted]


def exclusion_reasons(
    study: Study, *, cohort: Cohort, analysis: Analysis, runs: RunRecords
) -> Counter[str]:
    """Count the cases that no reported result counts, by the reason."""
    reasons = {**_untested(study, runs), **_reasons(study.preprocess_csv)}
    without = cases_without_result(cohort, analysis)
    return Counter(reasons.get(case.case_id, "no probability") for case in without)


def flow(study: Study, *, cohort: Cohort, analysis: Analysis, runs: RunRecords) -> Flow:
    """Draw the flow from the cohort to the cases of each reported set, and the reasons of others.

    A box counts the cases of a set, internal or external test, as the tables of results do.
    """
    counted = exclusion_reasons(study, cohort=cohort, analysis=analysis, runs=runs)
    excluded = sum(counted.values())
    aside = [f"{count} × {reason}" for reason, count in counted.most_common(_MOST_REASONS)]
    if len(counted) > _MOST_REASONS:
        listed = sum(count for _, count in counted.most_common(_MOST_REASONS))
        aside.append(f"{excluded - listed} × other reasons")
    return Flow(
        FlowBox(
            heading=f"{_cases(len(cohort))} in the cohort",
            lines=(f"{len({case.patient_id for case in cohort})} patients",),
            below=tuple(_box(judged, cohort, runs) for judged in analysis.reported),
            aside=(f"{_cases(excluded)} excluded", *aside) if excluded else (),
        )
    )


def _box(judged: JudgedSet, cohort: Cohort, runs: RunRecords) -> FlowBox:
    case_set = judged.case_set
    known = case_set.case_ids
    cases = [case for case in cohort if case.case_id in known]
    labels = Counter(case.label for case in cases)
    lines = [", ".join(f"{labels[name]} {name}" for name in case_set.classes)]
    sizes = {scored.name: len(scored) for scored in case_set.scored}
    if len(set(sizes.values())) > 1:
        lines += [f"{name}: {_cases(count)}" for name, count in sizes.items()]
    centres = Counter(case.cohort for case in cases)
    if case_set.key == "external":
        lines.append(", ".join(f"{name}: {count}" for name, count in sorted(centres.items())))
    elif runs.folds is not None and case_set.recorded:
        lines.append(f"{runs.folds.count} folds by patient")
    title = {"internal": "Internal", "external": "External", "validation": "Validation"}
    return FlowBox(f"{title[case_set.key]}: {_cases(len(cases))}", tuple(lines))


def _untested(study: Study, runs: RunRecords) -> dict[str, str]:
    """Return the cases that are tested in a fold in which no model is trained."""
    if runs.folds is None:
        return {}
    missing = set.intersection(*(set(model.missing) for model in runs.models.values()))
    table = read_table(study.folds_csv, ("case_id", "fold"))
    tested = zip(table["case_id"], table["fold"], strict=True)
    return {
        str(case): "tested in a fold that is not trained"
        for case, fold in tested
        if fold in {str(number) for number in missing}
    }


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

    A column of numbers is summarised as mean ± SD and compared by Welch's test; any other column
    by counts, compared by the χ² test (two by two with Yates' correction). A column with more than
    12 different texts is left out: it is free text, or may identify a patient.
    """
    groups = [
        (title, cases)
        for title, cases in (("Internal", cohort.internal), ("External", cohort.external))
        if cases
    ]
    titles = {name: with_unit(name) for case in cohort for name, _ in case.metadata}
    columns = [
        TableColumn("characteristic", "Characteristic", "text", titles=titles),
        TableColumn("level", "", "text"),
    ]
    for title, _ in groups:
        key = title.lower()
        columns.append(TableColumn(f"{key}_all", "all", "number", group=title))
        columns += [TableColumn(f"{key}_{name}", name, "number", group=title) for name in classes]
        columns += [
            TableColumn(f"{key}_p", "p", "p", group=title),
            TableColumn(f"{key}_smd", "SMD", digits=2, group=title),
        ]
    rows = [TableRow(("Cases", "", *_counts(groups, classes)))]
    patients = [
        (title, list({case.patient_id: case for case in cases}.values())) for title, cases in groups
    ]
    if any(len(few) < len(many) for (_, few), (_, many) in zip(patients, groups, strict=True)):
        rows.append(TableRow(("Patients", "", *_counts(patients, classes))))
    names = list(dict.fromkeys(name for case in cohort for name, _ in case.metadata))
    left_out: list[str] = []
    sparse: list[str] = []
    for name in names:
        column = clinical_column(cohort.cases, name)
        kind, why = column.kind_in_table()
        if kind == "number":
            rows += _continuous_rows(name, groups, classes)
        elif kind == "level":
            compared = [
                _by_class(name=name, cases=cases, classes=classes, levels=column.levels)
                for _, cases in groups
            ]
            rows += _level_rows(name, column.levels, compared)
            sparse += [
                f"{title.lower()} {name} ({_how(by_class.test)})"
                for (title, _), (_, by_class) in zip(groups, compared, strict=True)
                if "Halton" in by_class.test.method
            ]
        else:
            left_out.append(f"{name} ({why})")
    exact = f"; {_SPARSE}{', '.join(sparse)}" if sparse else ""
    note = (
        "Numbers: mean ± SD, Welch's test (analysis of variance with more than two classes). "
        "Counts: with their percentage of the known values, χ² test, with Yates' correction if two "
        f"by two{exact}. p compares the classes within a cohort and is not adjusted. SMD: "
        "standardised mean difference."
    )
    if left_out:
        note += f" Not shown: {', '.join(left_out)}."
    return Table(
        key="baseline",
        title="Baseline characteristics",
        columns=tuple(columns),
        rows=tuple(rows),
        note=note,
    )


def _counts(groups: Sequence[tuple[str, Sequence[Case]]], classes: Sequence[str]) -> list[Cell]:
    cells: list[Cell] = []
    for _, cases in groups:
        labels = Counter(case.label for case in cases)
        cells += [len(cases), *(labels[name] for name in classes), "", ""]
    return cells


def _continuous_rows(
    name: str, groups: Sequence[tuple[str, Sequence[Case]]], classes: Sequence[str]
) -> list[TableRow]:
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
    rows = [TableRow((name, "mean ± SD", *cells), opens=True)]
    return [*rows, TableRow((name, "missing", *missing))] if any(missing) else rows


_SPARSE = (
    "Fisher–Freeman–Halton test where an expected count is below 1, more than a fifth are below 5, "
    "or one of a two by two table is below 5: "
)


def _how(test: TestResult) -> str:
    """Say how the p-value of a sparse table was computed."""
    return test.method.partition(", ")[2]


def _level_rows(
    name: str,
    levels: Sequence[str],
    compared: Sequence[tuple[CategoricalSummary, CategoricalComparison]],
) -> list[TableRow]:
    rows = []
    for place, level in enumerate(levels):
        cells: list[Cell] = []
        for of_all, by_class in compared:
            for group in (of_all, *by_class.groups):
                share = group.percent[place]
                cells.append(f"{group.counts[place]} ({number(share, 1)})")
            first = place == 0
            cells += [by_class.test.p_value, by_class.smd] if first else ["", ""]
        rows.append(TableRow((name, level, *cells), opens=place == 0))
    if any(of_all.missing for of_all, _ in compared):
        cells = []
        for of_all, by_class in compared:
            cells += [*(group.missing for group in (of_all, *by_class.groups)), "", ""]
        rows.append(TableRow((name, "missing", *cells)))
    return rows


def _by_class(
    name: str, cases: Sequence[Case], classes: Sequence[str], levels: Sequence[str]
) -> tuple[CategoricalSummary, CategoricalComparison]:
    values = [dict(case.metadata).get(name, "") for case in cases]
    by_class = compare_categorical(
        values,
        [case.label for case in cases],
        test="by-expected-counts",
        groups=classes,
        categories=levels,
    )
    of_all = compare_categorical(
        values, ["all"] * len(cases), groups=["all", ""], categories=levels
    ).groups[0]
    return of_all, by_class
