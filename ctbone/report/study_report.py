"""The report of a study: everything that its tables hold, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctbone.cohort import Cohort, read_cohort
from ctbone.document.output import write_report
from ctbone.document.page import Block, Figure, Notice, Page, Section, Shown
from ctbone.progress import progress
from ctbone.report.analysis import Analysis, analyse
from ctbone.report.checklist_answers import checklist_section
from ctbone.report.freshness import stale_notices
from ctbone.report.fusion_figures import fusion_curves, fusion_weights
from ctbone.report.fusion_records import (
    Records,
    fusion_records,
    recalibration_table,
    stack_table,
    weight_table,
)
from ctbone.report.gather import Source, case_sets, sources
from ctbone.report.method import method_section
from ctbone.report.patients import baseline_table, flow
from ctbone.report.sections import answer, further_tables, glance, result_sections, uneven_notices
from ctbone.report.worst_cases import worst_cases
from ctbone.study import Study, provenance

_SYNTHETIC = Notice(
    "Synthetic patients.",
    "The images of this study were made by a program, and so were the labels and the readers' scores. The numbers show "
    "that the software works; they say nothing about any real patient.",
)


def report(study: Study) -> Path:
    """Write ``report/index.html`` with every table and figure of a study, and these as files of their own.

    Parameters
    ----------
    study
        The study; whatever tables of probabilities it holds take part, models, readers, fusions and other programs'.

    Returns
    -------
    Path
        ``report/index.html``; beside it ``metrics.json``, ``tables/*.{csv,tex}``, ``figures/*.svg`` and ``*.png``.

    Raises
    ------
    ReportError
        There are no probabilities yet, or they do not fit the cohort. Nothing has been written then.
    CohortError, PredictionError, StudyError
        A table is missing or faulty.
    """
    cohort = read_cohort(study)
    found = sources(study)
    sets = case_sets(study, cohort, found)
    records = fusion_records(study, found)
    steps = sum(len(cases.answers) for cases in sets)
    with progress("Report", total=steps + 2) as bar:
        analysis = analyse(sets, study.settings.evaluation, bands=True, bar=bar)
        inputs = {f"{source.path.parent.name}/{source.path.name}": source.path for source in found}
        record = provenance(study, "report", {study.cohort_csv.name: study.cohort_csv, **inputs})
        page = _page(
            study,
            cohort,
            analysis,
            found,
            records,
            method_section(study.settings, analysis, found, records, record),
            record,
        )
        bar.advance(note="figures")
        written = write_report(study.report, page)
        bar.advance(note="page")
    return written


def is_synthetic(study: Study) -> bool:
    """Whether the study's patients were made by a program, which leaves their truth beside them."""
    return any(study.root.glob("truth.json")) or any(study.root.glob("*/truth.json"))


def _page(
    study: Study,
    cohort: Cohort,
    analysis: Analysis,
    found: list[Source],
    records: Records,
    method: Section,
    record: dict[str, Any],
) -> Page:
    settings, synthetic = study.settings, is_synthetic(study)
    summary: list[Block] = [_SYNTHETIC] if synthetic else []
    summary += [
        *stale_notices(study, found),
        *uneven_notices(analysis),
        answer(analysis),
        *glance(analysis),
    ]
    patients = Section(
        "patients",
        "Patients",
        (flow(study, cohort, analysis), Shown(baseline_table(cohort, settings.classes))),
    )
    sections = [
        patients,
        *result_sections(analysis, bands=True, fusions=records.names),
    ]
    if records.all:
        sections.append(_fusion_section(analysis, records))
    sections.append(worst_cases(study, analysis, found))
    checklists = checklist_section(study, cohort, analysis, found, records.all, record, sections)
    metrics = {
        "study": settings.name,
        "synthetic": synthetic,
        **analysis.metrics(),
        "fusion": {
            r.name: {
                "parts": list(r.parts),
                "folds": r.folds,
                "mean": r.mean,
                "sd": r.spread,
                "reader": r.reader,
            }
            for r in records.fusions
        },
        "stacking": {
            r.name: {
                "parts": list(r.parts),
                "columns": list(r.columns),
                r.kind: r.folds,
                "reader": r.reader,
            }
            for r in records.stacks
        },
        "recalibration": {
            r.name: {"of": r.of, "how": r.how, "folds": r.folds, "reader": r.reader}
            for r in records.recalibrations
        },
        "provenance": record,
    }
    return Page(
        title=settings.title or settings.name,
        subtitle=f"Study {settings.name}: {' or '.join(settings.classes)}",
        summary=tuple(summary),
        sections=(*sections, method, checklists),
        metrics=metrics,
        further_tables=further_tables(analysis, bands=True),
    )


def _fusion_section(analysis: Analysis, records: Records) -> Section:
    blocks: list[Block] = []
    if records.fusions:
        curves = fusion_curves(records.fusions)
        blocks.append(Figure(fusion_weights(records.fusions, analysis.models)))
        blocks += [Figure(curves)] if curves is not None else []
        blocks.append(Shown(weight_table(records.fusions)))
    if records.stacks:
        blocks.append(Shown(stack_table(records.stacks)))
    if records.recalibrations:
        blocks.append(Shown(recalibration_table(records.recalibrations)))
    return Section("fusion", "Fusion", tuple(blocks))
