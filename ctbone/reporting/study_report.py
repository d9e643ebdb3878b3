"""The report of a study: every table and figure on one page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctbone.cohort import Cohort, read_cohort
from ctbone.document import Block, Notice, Page, Section, findings_blocks, write_page
from ctbone.errors import AuditError
from ctbone.findings import read_findings
from ctbone.progress import progress
from ctbone.reporting.analysis import Analysis, analyse
from ctbone.reporting.checklists import checklist_section
from ctbone.reporting.decision_curves import curves_by_set
from ctbone.reporting.fusion_records import Records, fusion_records, stale_notices
from ctbone.reporting.fusion_section import fusion_section
from ctbone.reporting.method import method_section
from ctbone.reporting.patients import patients_section
from ctbone.reporting.readers import JudgedReaders, judge_readers, reader_scores, readers_section
from ctbone.reporting.sections import (
    further_tables,
    headline,
    result_sections,
    summary_tables,
    uneven_notices,
)
from ctbone.reporting.sources import Source, case_sets, sources
from ctbone.reporting.worst_cases import worst_cases
from ctbone.study import Study, provenance

_SYNTHETIC = Notice(
    "Synthetic patients.",
    "A program made the images, the labels and the scores of the readers of this study. The "
    "numbers show that the software works; they say nothing about real patients.",
)


def report(study: Study) -> Path:
    """Write ``report/index.html`` and every table and figure of a study as files.

    Parameters
    ----------
    study
        The study. Every table of probabilities in it takes part: models, tables of other programs,
        the reader, fusions. Readers are judged from ``scores.csv`` if it is there.

    Returns
    -------
    Path
        ``report/index.html``; beside it ``metrics.json``, ``tables/*.{csv,tex}`` and
        ``figures/*.{svg,png}``.

    Raises
    ------
    ReportError
        There are no probabilities yet, or they do not fit the cohort. Nothing is written then.
    CohortError, PredictionError, ScoreError, StudyError
        A table is missing or faulty.
    """
    cohort = read_cohort(study)
    tables = sources(study)
    sets = case_sets(study, cohort, tables)
    records = fusion_records(study, tables)
    scores = reader_scores(study, cohort)
    steps = sum(len(case_set.scored) for case_set in sets)
    with progress("Report", total=steps + 2) as bar:
        analysis = analyse(sets, study.settings.evaluation, bands=True, bar=bar)
        readers = judge_readers(study, cohort=cohort, analysis=analysis, scores=scores)
        inputs = {study.cohort_csv.name: study.cohort_csv}
        inputs |= {
            f"{source.path.parent.name}/{source.path.name}": source.path for source in tables
        }
        if scores is not None:
            inputs[study.scores_csv.name] = study.scores_csv
        made = _Made(
            study=study,
            cohort=cohort,
            tables=tables,
            analysis=analysis,
            readers=readers,
            records=records,
            provenance=provenance(study, "report", inputs),
        )
        page = _page(made)
        bar.advance(note="figures")
        written = write_page(study.report, page)
        bar.advance(note="page")
    return written


@dataclass(frozen=True)
class _Made:
    """Everything that the page is made of."""

    study: Study
    cohort: Cohort
    tables: list[Source]
    analysis: Analysis
    readers: JudgedReaders | None
    records: Records
    provenance: dict[str, Any]


def is_synthetic(study: Study) -> bool:
    """Whether the patients are synthetic: the program that made them writes ``truth.json``."""
    return any(study.root.glob("truth.json")) or any(study.root.glob("*/truth.json"))


def _page(made: _Made) -> Page:
    study, analysis, records, readers = made.study, made.analysis, made.records, made.readers
    settings, synthetic = study.settings, is_synthetic(study)
    summary: list[Block] = [_SYNTHETIC] if synthetic else []
    summary += [
        *stale_notices(study, made.tables),
        *uneven_notices(analysis),
        headline(analysis),
        *summary_tables(analysis),
    ]
    curves = curves_by_set(analysis, bands=True)
    sections = [
        patients_section(study, made.cohort, analysis),
        *result_sections(analysis, curves, bands=True, fusions=records.names),
    ]
    if readers is not None:
        sections.append(readers_section(analysis, readers))
    if records.all:
        sections.append(fusion_section(analysis, records))
    sections.append(worst_cases(study, analysis, made.tables))
    audited = audit_section(study)
    if isinstance(audited, Section):
        sections.append(audited)
    elif audited is not None:
        summary.append(audited)
    sections.append(
        method_section(
            settings=settings,
            analysis=analysis,
            tables=made.tables,
            records=records,
            record=made.provenance,
        )
    )
    sections.append(
        checklist_section(
            study=study,
            cohort=made.cohort,
            analysis=analysis,
            tables=made.tables,
            fusions=records.all,
            record=made.provenance,
            sections=sections,
        )
    )
    metrics = {
        "study": settings.name,
        "synthetic": synthetic,
        **analysis.metrics(),
        **({"readers": readers.as_dict()} if readers is not None else {}),
        **records.as_dict(),
        "provenance": made.provenance,
    }
    return Page(
        title=settings.title or settings.name,
        subtitle=f"Study {settings.name}: {' or '.join(settings.classes)}",
        summary=tuple(summary),
        sections=tuple(sections),
        metrics=metrics,
        further_tables=further_tables(analysis, curves),
    )


def audit_section(study: Study) -> Section | Notice | None:
    """Return the findings of the study's audit; a notice if it is outdated, None if there is none.

    The audit is another stage: its ``audit.json`` is read, and nothing is computed here.
    """
    if not study.audit_json.is_file():
        return None
    try:
        findings = read_findings(study)
    except AuditError as error:
        found = f" ({error.found})" if error.found else ""
        return Notice("Audit not shown.", f"{error.problem.capitalize()}{found}: {error.remedy}.")
    return Section("audit", "Audit", findings_blocks(findings))
