"""The report of a study: every table and figure on one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ctbone.cohort import Cohort, read_cohort
from ctbone.custody import require_current
from ctbone.document import Block, Notice, Page, Section, findings_blocks, write_page
from ctbone.errors import AuditError
from ctbone.findings import read_findings
from ctbone.progress import progress
from ctbone.reporting.analysis import Analysis, analyse
from ctbone.reporting.checklists import checklist_section
from ctbone.reporting.class_by_class import class_section
from ctbone.reporting.conformal import conformal_section
from ctbone.reporting.decision_curves import curves_by_set
from ctbone.reporting.fusion_records import Records, fusion_records, stale_notices
from ctbone.reporting.fusion_section import fusion_section
from ctbone.reporting.grouping import grouping_notice, in_groups
from ctbone.reporting.method import method_section
from ctbone.reporting.patients import patients_section
from ctbone.reporting.readers import JudgedReaders, judge_readers, reader_scores, readers_section
from ctbone.reporting.run_records import (
    RunRecords,
    record_notices,
    run_records,
    settings_as_run,
)
from ctbone.reporting.scored_cases import CaseSet
from ctbone.reporting.sections import (
    further_tables,
    headline,
    result_sections,
    summary_tables,
    uneven_notices,
)
from ctbone.reporting.side_by_side import side_by_side_section
from ctbone.reporting.sources import Source, case_sets, elsewhere_notices, sources
from ctbone.reporting.subgroups import subgroups_section
from ctbone.reporting.worst_cases import worst_cases
from ctbone.study import Study, provenance

_SYNTHETIC = Notice(
    "Synthetic patients.",
    "A program made the images, the labels and the scores of the readers of this study. The "
    "numbers show that the software works; they say nothing about real patients.",
)


def report(study: Study, *, chapters: Sequence[Callable[[Study], Section | None]] = ()) -> Path:
    """Write ``report/index.html`` and every table and figure of a study as files.

    Parameters
    ----------
    study
        The study. Every table of probabilities in it takes part: models, tables of other programs,
        the reader, fusions. Readers are judged from ``scores.csv`` if it is there.
    chapters
        Functions that make further sections, of other stages; None is no section.

    Returns
    -------
    Path
        ``report/index.html``; beside it ``metrics.json``, ``tables/*.{csv,tex}`` and
        ``figures/*.{svg,png}``.

    Raises
    ------
    ReportError
        There are no probabilities yet, or they do not fit the cohort. Nothing is written then.
    CustodyError
        A table was made from other crops, weights, folds or scores than those of now.
    CohortError, PredictionError, ScoreError, StudyError
        A table is missing or faulty.
    """
    cohort = read_cohort(study)
    tables = sources(study)
    for kind in ("predictions", "fusion"):
        names = [table.path.stem for table in tables if table.path.parent.name == kind]
        require_current(study, kind, names, settings=False)
    runs = run_records(study, cohort, tables)
    sets = [_without_claims(one, runs) for one in case_sets(study, cohort, tables)]
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
            runs=runs,
            records=records,
            provenance=provenance(study, "report", inputs),
            chapters=tuple(made for chapter in chapters if (made := chapter(study)) is not None),
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
    runs: RunRecords
    records: Records
    provenance: dict[str, Any]
    chapters: tuple[Section, ...]


def _without_claims(case_set: CaseSet, runs: RunRecords) -> CaseSet:
    """Mark a set with tables whose folds no record proves; its title then claims no folds."""
    if runs.proves(scored.name for scored in case_set.scored):
        return case_set
    title = "Internal test" if case_set.key == "internal" else case_set.title
    return replace(case_set, title=title, recorded=False)


def is_synthetic(study: Study) -> bool:
    """Whether the patients are synthetic: the program that made them writes ``truth.json``."""
    return any(study.root.glob("truth.json")) or any(study.root.glob("*/truth.json"))


def _page(made: _Made) -> Page:
    study, analysis, records, readers = made.study, made.analysis, made.records, made.readers
    runs = made.runs
    settings, synthetic = study.settings, is_synthetic(study)
    summary: list[Block] = [_SYNTHETIC] if synthetic else []
    summary += [grouping_notice(settings.grouping)] if settings.grouping else []
    summary += [
        *record_notices(study, made.tables, runs),
        *stale_notices(study),
        *elsewhere_notices(made.tables),
        *uneven_notices(analysis),
        headline(analysis),
        *summary_tables(analysis, {source.name: source.origin for source in made.tables}),
    ]
    curves = curves_by_set(analysis, bands=True)
    sections = [
        patients_section(study, made.cohort, analysis, runs),
        *result_sections(analysis, curves, bands=True, fusions=records.names),
    ]
    if readers is not None:
        sections.append(readers_section(analysis, readers))
    beside = side_by_side_section(made.cohort, analysis, readers, records)
    classes = class_section(analysis, records.recalibrations)
    sections += [one for one in (beside, classes) if one is not None]
    sections += made.chapters
    if records.all:
        sections.append(fusion_section(analysis, records))
    conformal = conformal_section(analysis, settings.prediction.error_rate)
    sections += [conformal] if conformal is not None else []
    divided = subgroups_section(study, made.cohort, analysis)
    sections += [] if divided is None else [divided]
    sections.append(worst_cases(study, analysis, made.tables))
    audited = audit_section(study)
    if isinstance(audited, Section):
        sections.append(audited)
    elif audited is not None:
        summary.append(audited)
    sections.append(
        method_section(
            settings=settings_as_run(study, made.tables, runs),
            analysis=analysis,
            runs=runs,
            records=records,
            record=made.provenance,
        )
    )
    sections.append(
        checklist_section(
            study=study,
            cohort=made.cohort,
            analysis=analysis,
            runs=runs,
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
        "made_elsewhere": [source.name for source in made.tables if source.origin == "elsewhere"],
        "provenance": made.provenance,
    }
    page = Page(
        title=settings.title or settings.name,
        subtitle=f"Study {settings.name}: {' or '.join(settings.classes)}",
        summary=tuple(summary),
        sections=tuple(sections),
        metrics=metrics,
        further_tables=further_tables(analysis, curves),
    )
    return in_groups(page) if settings.grouping else page


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
