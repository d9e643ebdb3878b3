"""The sections that every report has: discrimination, folds, calibration, decision curves, comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import ctbone
from ctbone.document.page import Block, Figure, Notice, Page, Section, Shown, Terms, Text
from ctbone.document.table import Table, interval, number
from ctbone.report.analysis import Analysis, JudgedSet
from ctbone.report.discrimination_figures import class_roc, confusion_maps, forest, roc, roc_bands
from ctbone.report.metrics import Judgement
from ctbone.report.probability_figures import (
    calibration,
    class_calibration,
    curves_of,
    decision,
    decision_bands,
)
from ctbone.report.result_tables import (
    centre_table,
    class_table,
    comparison_table,
    confusion_table,
    cross_validation_table,
    decision_table,
    fold_table,
    glance_table,
    hosmer_lemeshow_table,
    metric_table,
    metric_title,
)
from ctbone.study import file_hash


def table_page(table: Path, analysis: Analysis, *, bands: bool) -> Page:
    """Make the page of a table that stands alone."""
    count = len(analysis.models)
    sections = (
        *result_sections(analysis, bands=bands),
        Section("method", "Method", statistics(analysis)),
    )
    metrics = {
        "source": {"file": table.name, "sha256": file_hash(table)},
        "ctbone": ctbone.__version__,
        **analysis.metrics(),
    }
    return Page(
        title=table.name,
        subtitle=f"Evaluation of {count} model{'s' * (count != 1)}",
        summary=(*uneven_notices(analysis), answer(analysis), *glance(analysis)),
        sections=sections,
        metrics=metrics,
        further_tables=further_tables(analysis, bands=bands),
    )


def result_sections(
    analysis: Analysis, *, bands: bool, fusions: Sequence[str] = ()
) -> tuple[Section, ...]:
    """Return the sections of results, in the order in which a reader asks for them."""
    two = analysis.any_answers.two_class
    found = [
        _discrimination(analysis, bands=bands),
        _confusion(analysis),
        _folds(analysis, fusions),
    ]
    found.append(_calibration(analysis))
    if two:
        found += [_decision(analysis, bands=bands), _comparisons(analysis)]
    return tuple(section for section in found if section is not None)


def further_tables(analysis: Analysis, *, bands: bool) -> tuple[Table, ...]:
    """Return the tables that are too long for the page."""
    tables = [confusion_table(judged) for judged in analysis.reported]
    tables += [
        fold_table(judged) for judged in analysis.sets if any(j.folds for j in judged.judgements)
    ]
    if analysis.any_answers.two_class:
        curves = curves_of(analysis, bands=bands)
        tables += [
            decision_table(analysis, judged, curves[judged.cases.key])
            for judged in analysis.reported
        ]
    return tuple(tables)


def glance(analysis: Analysis) -> tuple[Block, ...]:
    """Return the table of models, one a set of cases."""
    return tuple(Shown(glance_table(judged)) for judged in analysis.reported)


def uneven_notices(analysis: Analysis) -> list[Notice]:
    """Warn of models that do not answer for the same cases: their numbers cannot be set side by side."""
    found = []
    for judged in analysis.reported:
        cases = {answers.name: set(answers.cases["case_id"]) for answers in judged.cases.answers}
        everyone = set().union(*cases.values())
        gaps = [
            f"{name} lacks {len(everyone - own)}" for name, own in cases.items() if own != everyone
        ]
        if gaps:
            found.append(f"{judged.cases.title}: of {len(everyone)} cases {', '.join(gaps)}.")
    if not found:
        return []
    text = " ".join(
        [
            *found,
            "Comparisons use the cases that both models answered for; the other numbers do not.",
        ]
    )
    return [Notice("Not the same cases.", text)]


def answer(analysis: Analysis) -> Text:
    """Say how well the models did, one paragraph a set of cases."""
    return Text(tuple(_sentence(analysis, judged) for judged in analysis.reported))


def statistics(analysis: Analysis) -> tuple[Block, ...]:
    """Say how every number was computed, in the words of the statistics themselves."""
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
        f"Intervals are at {analysis.settings.confidence:.0%}. They hold for each number by itself. A value that is "
        "undefined is shown as a dash, with the reason below its table; it is never written as 0 or 1."
    )
    return Text((text,)), Terms("How each number was computed", tuple(items))


def _sentence(analysis: Analysis, judged: JudgedSet) -> str:
    answers, known = (
        judged.cases.answers[0],
        [j for j in judged.judgements if j.estimates["auc"].value is not None],
    )
    where = {
        "internal": "Internally, where each case is answered by the one model that has not seen its patient",
        "external": "Externally, where the folds' models are averaged",
        "validation": "On the validation cases, which helped to choose the models",
    }[judged.cases.key]
    if judged.cases.title == "All cases":
        where = "On all cases"
    count = f"{where} ({_count(judged.judgements[0], answers.positive, answers.two_class)})"
    if not known:
        why = judged.judgements[0].estimates["auc"].why
        return f"{count}, the AUC is undefined: {why}."
    best = max(known, key=lambda j: float(j.estimates["auc"].value or 0))
    first = known[0]
    text = f"{count}, {first.name} reached an AUC of {_with_interval(first, analysis)}"
    if best is first:
        return text + ("." if len(known) == 1 else f", the highest of {len(known)}.")
    return f"{text}; the highest of {len(known)} was that of {best.name}, {_with_interval(best, analysis)}."


def _with_interval(judgement: Judgement, analysis: Analysis) -> str:
    area = judgement.estimates["auc"]
    ends = interval(area)
    return (
        f"{number(area.value)} ({analysis.settings.confidence:.0%} interval {ends})"
        if ends
        else number(area.value)
    )


def _count(judgement: Judgement, positive: str, two: bool) -> str:
    name = "positive" if positive.isdecimal() else positive
    return f"{judgement.n} cases" + (f", {judgement.positives} {name}" if two else "")


def _discrimination(analysis: Analysis, *, bands: bool) -> Section:
    blocks: list[Block] = [Figure(forest(analysis))]
    if analysis.any_answers.two_class:
        blocks.append(Figure(roc(analysis)))
        if bands:
            blocks += [Figure(roc_bands(analysis, judged)) for judged in analysis.reported]
    else:
        blocks += [Figure(class_roc(analysis, judged)) for judged in analysis.reported]
        blocks += [Shown(class_table(analysis, judged)) for judged in analysis.reported]
    blocks += [Shown(metric_table(judged)) for judged in analysis.reported]
    by_centre = (centre_table(analysis, judged) for judged in analysis.reported)
    blocks += [Shown(table) for table in by_centre if table is not None]
    return Section("discrimination", "Discrimination", tuple(blocks))


def _confusion(analysis: Analysis) -> Section:
    thresholds = _thresholds(analysis)
    blocks: list[Block] = [Text((thresholds,))] if thresholds else []
    blocks += [Figure(confusion_maps(judged)) for judged in analysis.reported]
    return Section("confusion", "Confusion", tuple(blocks))


def _thresholds(analysis: Analysis) -> str:
    answers = analysis.any_answers
    if not answers.two_class:
        return "A case is called by its highest probability."
    rule = analysis.settings.threshold
    if rule == "youden":
        return (
            f"A case is called {answers.positive} from the threshold with the highest Youden index on the validation "
            "cases of its fold; external cases from the mean of the folds' thresholds."
        )
    return f"A case is called {answers.positive} if its probability reaches {rule:g}."


def _folds(analysis: Analysis, fusions: Sequence[str]) -> Section | None:
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
        Shown(cross_validation_table(analysis, key, title, names))
        for key, title, names in tables
        if names
    )
    return Section("folds", "Fold by fold", tuple(shown))


def _calibration(analysis: Analysis) -> Section:
    two, level = analysis.any_answers.two_class, analysis.settings.confidence
    drawn = (
        calibration(analysis, j) if two else class_calibration(j, level) for j in analysis.reported
    )
    tests = (hosmer_lemeshow_table(judged) for judged in analysis.reported)
    blocks: list[Block] = [
        *(Figure(figure) for figure in drawn),
        *(Shown(table) for table in tests if table is not None),
    ]
    return Section("calibration", "Calibration", tuple(blocks))


def _decision(analysis: Analysis, *, bands: bool) -> Section:
    curves = curves_of(analysis, bands=bands)
    blocks: list[Block] = [Figure(decision(analysis, curves))]
    if bands:
        blocks += [
            Figure(decision_bands(analysis, judged, curves[judged.cases.key]))
            for judged in analysis.reported
        ]
    return Section("decision", "Decision curves", tuple(blocks))


def _comparisons(analysis: Analysis) -> Section | None:
    compared = [judged for judged in analysis.reported if judged.comparisons]
    if not compared:
        return None
    text = (
        "Every two models on the cases that both answered for. The adjusted p-values keep the chance of any false "
        "finding within a table at the nominal level."
    )
    tables = (Shown(comparison_table(judged)) for judged in compared)
    return Section("comparisons", "Comparisons", (Text((text,)), *tables))
