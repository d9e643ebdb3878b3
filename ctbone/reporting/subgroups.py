"""The section on subgroups: AUC by size, site, sex, age, centre and scanner, with tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ctbone.clinical import MOST_LEVELS, clinical_column, number_of
from ctbone.cohort import Case, Cohort
from ctbone.document import Cell, Section, Table, TableBlock, TableColumn, TableRow, Text
from ctbone.errors import CtboneError
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import Estimate, TestResult, auc_interval, heterogeneity_test, holm
from ctbone.study import Study, read_json, read_table, record_of

_FEWEST = 5
"""Cases of each class that a group needs for its AUC."""

_THIRDS = 3
"""Groups of a column of numbers, cut at its quantiles over the whole cohort."""


@dataclass(frozen=True)
class Grouping:
    """One way to divide the cases.

    Attributes
    ----------
    title
        The quantity, such as ``age``.
    levels
        The groups, in order.
    of_case
        The group of each case; cases of unknown group are missing.
    """

    title: str
    levels: tuple[str, ...]
    of_case: Mapping[str, str]


def subgroups_section(study: Study, cohort: Cohort, analysis: Analysis) -> Section | None:
    """Show the AUC of every model in groups of the cases; None with more than two classes."""
    groupings = groupings_of(study, cohort)
    tables = [
        TableBlock(table)
        for judged in analysis.reported
        if judged.case_set.scored[0].two_class
        and (table := subgroup_table(judged, groupings, level=analysis.settings.confidence))
    ]
    if not tables:
        return None
    text = (
        f"The AUC in groups of the cases. A group needs {_FEWEST} cases of each class. Numbers are "
        "cut at the thirds of the whole cohort. The p-value asks whether the AUC is the same in "
        "all groups of a row's quantity (Cochran's Q of DeLong's intervals), adjusted by Holm's "
        "method over the quantities of a model. A large p-value does not show that the groups are "
        "equal: small groups have wide intervals."
    )
    return Section("subgroups", "Subgroups", (Text((text,)), *tables))


def groupings_of(study: Study, cohort: Cohort) -> list[Grouping]:
    """Return every way to divide the cases that the study's tables and records allow."""
    cases = list(cohort)
    found = [_levels("centre", {case.case_id: case.cohort for case in cases})]
    found.append(_thirds("lesion, ml", _sizes(study)))
    names = list(dict.fromkeys(name for case in cases for name, _ in case.metadata))
    found += [_clinical(cases, name) for name in names]
    found += [_levels(name, _of_scans(study, cases, name)) for name in ("scanner", "kernel")]
    return [grouping for grouping in found if len(grouping.levels) > 1]


def subgroup_table(
    judged: JudgedSet, groupings: Sequence[Grouping], *, level: float
) -> Table | None:
    """Return the table of one set of cases; None if no quantity has two groups large enough."""
    scored = judged.case_set.scored
    kept: list[tuple[Grouping, list[str]]] = []
    for grouping in groupings:
        large = [name for name in grouping.levels if _is_large(scored[0], grouping, name)]
        if len(large) > 1:
            kept.append((grouping, large))
    if not kept:
        return None
    estimates = {
        (one.name, grouping.title, name): _auc(one, grouping, name, level)
        for one in scored
        for grouping, names in kept
        for name in names
    }
    tests: dict[tuple[str, str], float | None] = {}
    for one in scored:
        found = [
            _test([estimates[one.name, grouping.title, name] for name in names], level)
            for grouping, names in kept
        ]
        for (grouping, _), p in zip(kept, holm(found), strict=True):
            tests[one.name, grouping.title] = p
    rows = []
    for grouping, names in kept:
        for place, name in enumerate(names):
            inside = _members(scored[0], grouping, name)
            truth = scored[0].truth[inside]
            cells: list[Cell] = [grouping.title, name, int(truth.sum()), int((~truth).sum())]
            for one in scored:
                cells.append(estimates[one.name, grouping.title, name])
                cells.append(tests[one.name, grouping.title] if place == 0 else "")
            rows.append(TableRow(tuple(cells), opens=place == 0))
    return Table(
        key=f"subgroups_{judged.case_set.key}",
        title=f"AUC in groups, {judged.case_set.inline_title}",
        columns=_columns(scored),
        rows=tuple(rows),
    )


def _columns(scored: Sequence[ScoredCases]) -> tuple[TableColumn, ...]:
    positive = scored[0].positive
    columns = [
        TableColumn("quantity", "Quantity", "text"),
        TableColumn("group", "Group", "text"),
        TableColumn("positive", positive),
        TableColumn("negative", f"not {positive}"),
    ]
    for one in scored:
        columns.append(TableColumn(f"auc_{one.name}", "AUC", "estimate", 2, group=one.name))
        columns.append(TableColumn(f"p_{one.name}", "p, Holm", "p", group=one.name))
    return tuple(columns)


def _members(scored: ScoredCases, grouping: Grouping, name: str) -> np.ndarray:
    return np.array([grouping.of_case.get(case) == name for case in scored.cases["case_id"]])


def _is_large(scored: ScoredCases, grouping: Grouping, name: str) -> bool:
    truth = scored.truth[_members(scored, grouping, name)]
    return min(int(truth.sum()), int((~truth).sum())) >= _FEWEST


def _auc(scored: ScoredCases, grouping: Grouping, name: str, level: float) -> Estimate:
    inside = _members(scored, grouping, name)
    truth = scored.truth[inside]
    if truth.all() or not truth.any():
        return Estimate.undefined("AUC", "only one class is present")
    patients = None if scored.patients is None else scored.patients[inside]
    return auc_interval(truth, scored.p[inside], level=level, groups=patients)


def _test(estimates: Sequence[Estimate], level: float) -> float | None:
    found: TestResult = heterogeneity_test(estimates, level=level)
    return found.p_value


def _clinical(cases: Sequence[Case], name: str) -> Grouping:
    column = clinical_column(cases, name)
    cells = {case.case_id: cell for case, cell in zip(cases, column.cells, strict=True) if cell}
    if column.kind == "number" and len(column.levels) > _THIRDS:
        numbers = {case: number_of(cell) for case, cell in cells.items()}
        return _thirds(name, {case: value for case, value in numbers.items() if value is not None})
    return _levels(name, cells if column.kind in ("number", "level") else {})


def _levels(title: str, of_case: Mapping[str, str]) -> Grouping:
    levels = tuple(sorted(set(of_case.values())))
    return Grouping(title, levels if len(levels) <= MOST_LEVELS else (), of_case)


def _thirds(title: str, values: Mapping[str, float]) -> Grouping:
    """Cut numbers at their thirds; equal numbers stay in one group."""
    if len(set(values.values())) < _THIRDS:
        return Grouping(title, (), {})
    low, high = np.quantile(list(values.values()), [1 / 3, 2 / 3])
    names = (f"up to {low:.3g}", f"{low:.3g} to {high:.3g}", f"above {high:.3g}")
    groups = {case: names[int(value > low) + int(value > high)] for case, value in values.items()}
    return Grouping(title, names, groups)


def _sizes(study: Study) -> dict[str, float]:
    """Return the lesion's volume of each case that was preprocessed, in ml."""
    if not study.preprocess_csv.is_file():
        return {}
    table = read_table(study.preprocess_csv, ("case_id",))
    if "lesion_ml" not in table:
        return {}
    sizes = {
        case: number_of(cell)
        for case, cell in zip(table["case_id"], table["lesion_ml"], strict=True)
    }
    return {case: size for case, size in sizes.items() if size is not None}


def _of_scans(study: Study, cases: Sequence[Case], what: str) -> dict[str, str]:
    """Return the scanner or the kernel of each case whose volume was made from DICOM."""
    found = {}
    for case in cases:
        try:
            scan = read_json(record_of(study.nifti(case.case_id))).get("scan") or {}
        except CtboneError:
            continue
        parts = ("manufacturer", "model") if what == "scanner" else ("kernel",)
        known = [str(scan[part]) for part in parts if isinstance(scan, dict) and scan.get(part)]
        if known:
            found[case.case_id] = " ".join(known)
    return found
