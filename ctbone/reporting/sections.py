"""The parts that the pages of ``report`` and ``evaluate`` share: summary, results, statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ctbone.document import (
    Block,
    Cell,
    Notice,
    Section,
    Table,
    TableBlock,
    TableColumn,
    Terms,
    Text,
    interval,
    number,
    plain_table,
)
from ctbone.reporting.analysis import Analysis, JudgedSet, Judgement
from ctbone.reporting.calibration import calibration_section
from ctbone.reporting.decision_curves import CurvesBySet, decision_section, decision_table
from ctbone.reporting.discrimination import (
    comparison_section,
    confusion_section,
    confusion_table,
    discrimination_section,
)
from ctbone.reporting.fold_by_fold import fold_section, fold_table
from ctbone.reporting.levels import levels_section
from ctbone.reporting.metrics import (
    MANY_CLASS_METRICS,
    SUMMARY_METRICS,
    metric_columns,
    metric_title,
)
from ctbone.reporting.scored_cases import Origin

_ORIGINS = {
    "ctbone": "",
    "in part": "a part was made elsewhere",
    "elsewhere": "made elsewhere: folds and training not verifiable",
}


def result_sections(
    analysis: Analysis, curves: CurvesBySet, *, bands: bool, fusions: Sequence[str] = ()
) -> tuple[Section, ...]:
    """Return the sections of results, in the order of the page.

    Parameters
    ----------
    analysis
        The judged sets.
    curves
        The decision curves of every reported set, as ``curves_by_set`` returns them.
    bands
        Whether to draw bootstrap bands.
    fusions
        Names of the fused tables, which get a table of their own in the section on folds.
    """
    sections = [
        discrimination_section(analysis, bands=bands),
        confusion_section(analysis),
        fold_section(analysis, fusions),
        levels_section(analysis),
        calibration_section(analysis),
    ]
    if analysis.two_class:
        sections += [decision_section(analysis, curves, bands=bands), comparison_section(analysis)]
    return tuple(section for section in sections if section is not None)


def further_tables(analysis: Analysis, curves: CurvesBySet) -> tuple[Table, ...]:
    """Return the tables that are too long for the page."""
    tables = [confusion_table(judged) for judged in analysis.reported]
    tables += [
        fold_table(judged) for judged in analysis.sets if any(j.folds for j in judged.judgements)
    ]
    tables += [
        decision_table(analysis, judged, curves[judged.case_set.key])
        for judged in analysis.reported
        if judged.case_set.key in curves
    ]
    return tuple(tables)


def summary_tables(
    analysis: Analysis, origins: Mapping[str, Origin] | None = None
) -> tuple[Block, ...]:
    """Return one table of the models for each set of cases."""
    return tuple(TableBlock(summary_table(judged, origins or {})) for judged in analysis.reported)


def summary_table(judged: JudgedSet, origins: Mapping[str, Origin]) -> Table:
    """Show AUC, sensitivity, specificity, accuracy and Brier score of every model.

    Models in ``origins`` that were not made by ctbone are marked.
    """
    names = SUMMARY_METRICS if judged.case_set.two_class else MANY_CLASS_METRICS
    columns = [
        TableColumn("model", "Model", "text", titles=judged.titles),
        TableColumn("n", "Cases"),
        *metric_columns(names),
    ]
    rows: list[list[Cell]] = [
        [j.name, j.n, *(j.estimates.get(name) for name in names)] for j in judged.judgements
    ]
    marks = [_ORIGINS[origins.get(j.name, "ctbone")] for j in judged.judgements]
    if any(marks):
        columns.append(TableColumn("origin", "Origin", "text"))
        rows = [[*row, mark] for row, mark in zip(rows, marks, strict=True)]
    return plain_table(
        key=f"summary_{judged.case_set.key}",
        title=judged.case_set.title,
        columns=columns,
        rows=rows,
    )


def uneven_notices(analysis: Analysis) -> list[Notice]:
    """Warn if the models of a set have different cases, so that their numbers do not compare."""
    texts = []
    for judged in analysis.reported:
        cases = {
            scored.name: set(scored.cases["case_id"].to_numpy(object))
            for scored in judged.case_set.scored
        }
        everyone = set().union(*cases.values())
        gaps = [
            f"{name} lacks {len(everyone - own)}" for name, own in cases.items() if own != everyone
        ]
        if gaps:
            texts.append(f"{judged.case_set.title}: of {len(everyone)} cases {', '.join(gaps)}.")
    if not texts:
        return []
    texts.append("Comparisons use the cases that both models have; all other numbers do not.")
    return [Notice("Different cases.", " ".join(texts))]


def headline(analysis: Analysis) -> Text:
    """State the AUC of every model, one paragraph for each set of cases; none is singled out."""
    return Text(tuple(_sentence(analysis, judged) for judged in analysis.reported))


def statistics(analysis: Analysis) -> tuple[Block, ...]:
    """List the method of every number, as its estimate names it."""
    methods: dict[str, list[str]] = {}
    for judged in analysis.reported:
        for judgement in judged.judgements:
            for name, estimate in judgement.estimates.items():
                methods.setdefault(estimate.method, []).append(metric_title(name))
    items = [(", ".join(dict.fromkeys(names)), method) for method, names in methods.items()]
    compared = dict.fromkeys(
        c.result.method for judged in analysis.reported for c in judged.comparisons
    )
    items += [
        ("Comparisons of AUCs", f"{method}; p adjusted by Holm within a set of cases")
        for method in compared
    ]
    text = (
        f"All intervals are {analysis.settings.confidence:.0%} intervals, each for one number by "
        "itself. An undefined value is shown as a dash, and a value without an interval alone; its "
        "cell says why. Neither is replaced by 0 or 1."
    )
    return Text((text,)), Terms("How each number was computed", tuple(items))


def _sentence(analysis: Analysis, judged: JudgedSet) -> str:
    where = {
        "internal": "On internal test, where each case is predicted by the one model that has not "
        "seen its patient",
        "external": "On external test, where the models of the folds are averaged",
        "validation": "On the validation cases, which were used to choose the models",
    }[judged.case_set.key]
    if judged.case_set.title == "All cases":
        where = "On all cases"
    elif not judged.case_set.recorded:
        where = f"On {judged.case_set.inline_title}"
    first = judged.judgements[0]
    start = f"{where} ({_count(first, analysis)})"
    known = [j for j in judged.judgements if j.estimates["auc"].value is not None]
    if not known:
        return f"{start}, the AUC is undefined: {first.estimates['auc'].why}."
    if len(known) == 1:
        title = judged.title(known[0].name)
        return f"{start}, the AUC of {title} is {_with_interval(known[0], analysis)}."
    if len(known) <= _MOST_NAMED:
        listed = "; ".join(f"{judged.title(j.name)} {_with_interval(j, analysis)}" for j in known)
        return f"{start}, the AUCs are: {listed}."
    areas = [float(j.estimates["auc"].value or 0) for j in known]
    return (
        f"{start}, the AUCs of {len(known)} models lie between {number(min(areas))} and "
        f"{number(max(areas))}: see the table."
    )


_MOST_NAMED = 6
"""Models whose AUCs a sentence lists; of more it gives the range and names none."""


def _with_interval(judgement: Judgement, analysis: Analysis) -> str:
    area = judgement.estimates["auc"]
    ends = interval(area)
    return (
        f"{number(area.value)} ({analysis.settings.confidence:.0%} interval {ends})"
        if ends
        else number(area.value)
    )


def _count(judgement: Judgement, analysis: Analysis) -> str:
    if not analysis.two_class:
        return f"{judgement.n} cases"
    name = "positive" if analysis.positive.isdecimal() else analysis.positive
    return f"{judgement.n} cases, {judgement.positives} {name}"
