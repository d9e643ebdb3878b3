"""The section on subgroups: AUC by size, site, sex, age, centre and scanner, with tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ctbone.clinical import MOST_LEVELS, clinical_column, number_of, with_unit
from ctbone.cohort import Case, Cohort
from ctbone.document import (
    FAINT,
    INK,
    QUIET,
    RULE,
    Block,
    Cell,
    DrawnFigure,
    FigureBlock,
    Section,
    Table,
    TableBlock,
    TableColumn,
    TableRow,
    Text,
    finish,
    line_styles,
    p_text,
    shorten,
    style,
    titled_panels,
)
from ctbone.errors import CtboneError
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.roc_figures import leading, left_out
from ctbone.reporting.scored_cases import ScoredCases
from ctbone.stats import Estimate, TestResult, auc_interval, heterogeneity_test, holm
from ctbone.study import Study, read_json, read_table, record_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_FEWEST = 5
"""Cases of each class that a group needs for its AUC."""

_LABELS_MM, _PANEL_MM, _ROW_MM = 66.0, 33.0, 4.4
"""Width of the names left of the forest plot, width of a panel, height of a row, in mm."""
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


@dataclass(frozen=True)
class Subgroups:
    """The AUC of every model in every group that is large enough.

    Attributes
    ----------
    kept
        Each quantity with its groups.
    estimates
        AUC by model, quantity and group.
    tests
        p-value of Cochran's Q by model and quantity, adjusted by Holm over the quantities.
    """

    kept: tuple[tuple[Grouping, tuple[str, ...]], ...]
    estimates: Mapping[tuple[str, str, str], Estimate]
    tests: Mapping[tuple[str, str], float | None]


def subgroups_section(study: Study, cohort: Cohort, analysis: Analysis) -> Section | None:
    """Show the AUC of every model in groups of the cases; None with more than two classes."""
    groupings = groupings_of(study, cohort)
    blocks: list[Block] = []
    for judged in analysis.reported:
        found = judge_subgroups(judged, groupings, level=analysis.settings.confidence)
        if found is not None:
            blocks.append(FigureBlock(subgroup_forest(analysis, judged, found)))
            blocks.append(TableBlock(subgroup_table(judged, found)))
    if not blocks:
        return None
    text = (
        f"The AUC in groups of the cases. A group needs {_FEWEST} cases of each class. Numbers are "
        "cut at the thirds of the whole cohort. The p-value asks whether the AUC is the same in "
        "all groups of a row's quantity (Cochran's Q of DeLong's intervals), adjusted by Holm's "
        "method over the quantities of a model. A large p-value does not show that the groups are "
        "equal: small groups have wide intervals."
    )
    return Section("subgroups", "Subgroups", (Text((text,)), *blocks))


def groupings_of(study: Study, cohort: Cohort) -> list[Grouping]:
    """Return every way to divide the cases that the study's tables and records allow."""
    cases = list(cohort)
    found = [_levels("centre", {case.case_id: case.cohort for case in cases})]
    found.append(_thirds("lesion volume (ml)", _sizes(study)))
    names = list(dict.fromkeys(name for case in cases for name, _ in case.metadata))
    found += [_clinical(cases, name) for name in names]
    found += [_levels(name, _of_scans(study, cases, name)) for name in ("scanner", "kernel")]
    return [grouping for grouping in found if len(grouping.levels) > 1]


def judge_subgroups(
    judged: JudgedSet, groupings: Sequence[Grouping], *, level: float
) -> Subgroups | None:
    """Compute the AUCs in groups; None if no quantity has two groups large enough."""
    scored = judged.case_set.scored
    if not scored[0].two_class:
        return None
    kept: list[tuple[Grouping, tuple[str, ...]]] = []
    for grouping in groupings:
        large = tuple(name for name in grouping.levels if _is_large(scored[0], grouping, name))
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
    return Subgroups(tuple(kept), estimates, tests)


def group_counts(scored: ScoredCases, grouping: Grouping, name: str) -> tuple[int, int]:
    """Return the positive and the negative cases of a group."""
    truth = scored.truth[_members(scored, grouping, name)]
    return int(truth.sum()), int((~truth).sum())


def subgroup_table(judged: JudgedSet, found: Subgroups) -> Table:
    """Return the table of one set of cases."""
    scored = judged.case_set.scored
    rows = []
    for grouping, names in found.kept:
        for place, name in enumerate(names):
            cells: list[Cell] = [grouping.title, name, *group_counts(scored[0], grouping, name)]
            for one in scored:
                cells.append(found.estimates[one.name, grouping.title, name])
                cells.append(found.tests[one.name, grouping.title] if place == 0 else "")
            rows.append(TableRow(tuple(cells), opens=place == 0))
    return Table(
        key=f"subgroups_{judged.case_set.key}",
        title=f"AUC in groups, {judged.case_set.inline_title}",
        columns=_columns(scored, judged.titles),
        rows=tuple(rows),
    )


def subgroup_forest(analysis: Analysis, judged: JudgedSet, found: Subgroups) -> DrawnFigure:
    """Draw the AUC of the first six models in each group, with the test for heterogeneity."""
    scored = [one for one in judged.case_set.scored if one.name in leading(analysis.models)]
    areas = {j.name: j.estimates["auc"] for j in judged.judgements}
    lines = line_styles(analysis.models)
    rows = _forest_rows(judged.case_set.scored[0], found)
    lows = [estimate.low for estimate in found.estimates.values() if estimate.low is not None]
    left = min([0.5, *(np.floor(10 * low) / 10 for low in lows)])
    heads = [(judged.title(one.name), "") for one in scored]
    with style():
        width = _PANEL_MM if len(scored) > 1 else 3 * _PANEL_MM
        figure, all_axes = titled_panels(
            heads, size=(width, _ROW_MM * len(rows)), gap=5, margin=(_LABELS_MM, 5, 11)
        )
        for number, (axes, one) in enumerate(zip(all_axes, scored, strict=True)):
            axes.set(xlim=(left - 0.02, 1.02), ylim=(len(rows) - 0.4, -0.6), xlabel="AUC")
            axes.set_yticks([])
            axes.spines["left"].set_visible(False)
            axes.grid(axis="x", color=RULE, linewidth=0.4)
            if number % 3 == 0:
                _write_rows(axes, rows, width)
            _draw_rows(axes, rows, found, one.name, areas[one.name], lines[one.name].colour)
        return finish(
            figure,
            key=f"subgroups_{judged.case_set.key}",
            title=f"AUC in groups, {judged.case_set.inline_title}",
            alt="Forest plot: the AUC of each model in each group with its interval; the numbers "
            "are in the table below.",
            note=f"With {analysis.settings.confidence:.0%} intervals. Dashed: all cases. p: test "
            f"for heterogeneity, adjusted by Holm's method. n: cases, and those "
            f"{judged.case_set.positive}.{left_out(analysis, 'the table has all')}",
        )


@dataclass(frozen=True)
class _ForestRow:
    """One row of the forest plot; ``group`` is empty in the row that names the quantity."""

    quantity: str
    group: str
    counts: str


def _forest_rows(scored: ScoredCases, found: Subgroups) -> list[_ForestRow]:
    rows = [_ForestRow("", "All cases", f"{len(scored)}, {int(scored.truth.sum())}")]
    for grouping, names in found.kept:
        rows.append(_ForestRow(grouping.title, "", ""))
        for name in names:
            positive, negative = group_counts(scored, grouping, name)
            counts = f"{positive + negative}, {positive}"
            rows.append(_ForestRow(grouping.title, name, counts))
    return rows


def _write_rows(axes: Axes, rows: Sequence[_ForestRow], width: float) -> None:
    """Write names and counts to the left of a panel ``width`` mm wide."""
    how: dict[str, Any] = {
        "transform": axes.get_yaxis_transform(),
        "va": "center",
        "fontsize": 7,
        "color": INK,
    }
    edge, counts = -(_LABELS_MM - 2) / width, -3 / width
    axes.text(counts, -1.3, "n, events", ha="right", **{**how, "fontsize": 6.5, "color": QUIET})
    for y, row in enumerate(rows):
        if row.group:
            inset = 0 if not row.quantity else 3 / width
            axes.text(edge + inset, y, shorten(row.group, 28), ha="left", **how)
            axes.text(counts, y, row.counts, ha="right", **how)
        else:
            axes.text(edge, y, shorten(row.quantity, 30), ha="left", weight="bold", **how)


def _draw_rows(
    axes: Axes,
    rows: Sequence[_ForestRow],
    found: Subgroups,
    model: str,
    area: Estimate,
    colour: str,
) -> None:
    for y, row in enumerate(rows):
        if row.group:
            one = found.estimates[model, row.quantity, row.group] if row.quantity else area
            _draw_estimate(axes, y, one, colour, marker="o" if row.quantity else "D")
            continue
        p = found.tests[model, row.quantity]
        if p is not None:
            text = p_text(p)
            text = f"p {text}" if text[0] in "<>" else f"p = {text}"
            axes.text(
                0.02,
                y,
                text,
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=6.5,
                color=QUIET,
            )
    if area.value is not None:
        axes.axvline(area.value, color=FAINT, linewidth=0.6, linestyle=(0, (2, 2)), zorder=0)


def _draw_estimate(axes: Axes, y: float, one: Estimate, colour: str, marker: str) -> None:
    if one.value is None:
        axes.text(
            0.02,
            y,
            "undefined",
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=6.5,
            color=QUIET,
        )
        return
    if one.low is not None and one.high is not None:
        axes.plot([one.low, one.high], [y, y], color=colour, linewidth=1.0)
    axes.plot([one.value], [y], marker, color=colour, markersize=3.6, clip_on=False)


def _columns(scored: Sequence[ScoredCases], titles: Mapping[str, str]) -> tuple[TableColumn, ...]:
    positive = scored[0].positive
    columns = [
        TableColumn("quantity", "Quantity", "text"),
        TableColumn("group", "Group", "text"),
        TableColumn("positive", positive),
        TableColumn("negative", f"not {positive}"),
    ]
    for one in scored:
        title = titles.get(one.name, one.name)
        columns.append(TableColumn(f"auc_{one.name}", "AUC", "estimate", 2, group=title))
        columns.append(TableColumn(f"p_{one.name}", "p, Holm", "p", group=title))
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
    column, title = clinical_column(cases, name), with_unit(name)
    cells = {case.case_id: cell for case, cell in zip(cases, column.cells, strict=True) if cell}
    if column.kind == "number" and len(column.levels) > _THIRDS:
        numbers = {case: number_of(cell) for case, cell in cells.items()}
        return _thirds(title, {case: value for case, value in numbers.items() if value is not None})
    return _levels(title, cells if column.kind in ("number", "level") else {})


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
