"""The page of a study: one page first, then the paper's tables and figures, then the appendix."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ctbone.cohort import Cohort
from ctbone.custody import NamedComparison
from ctbone.document import (
    Block,
    FigureBlock,
    Notice,
    Page,
    Section,
    TableBlock,
    Text,
    findings_blocks,
)
from ctbone.errors import AuditError
from ctbone.findings import read_findings
from ctbone.reporting.analysis import Analysis, JudgedSet
from ctbone.reporting.checklists import checklist_section
from ctbone.reporting.class_by_class import class_section
from ctbone.reporting.conformal import conformal_section
from ctbone.reporting.decision_curves import CurvesBySet, curves_by_set
from ctbone.reporting.fold_by_fold import fold_section
from ctbone.reporting.fusion_records import Records, stale_notices
from ctbone.reporting.fusion_section import fusion_section
from ctbone.reporting.grouping import grouping_notice, in_groups
from ctbone.reporting.method import method_section
from ctbone.reporting.patients import patients_section
from ctbone.reporting.primary import PrimaryResult
from ctbone.reporting.readers_section import JudgedReaders, readers_section
from ctbone.reporting.run_records import RunRecords, record_notices, settings_as_run
from ctbone.reporting.sections import (
    further_tables,
    result_sections,
    summary_tables,
    uneven_notices,
)
from ctbone.reporting.side_by_side import side_by_side_section
from ctbone.reporting.sources import Source, elsewhere_notices
from ctbone.reporting.study_facts import baseline_record, study_facts
from ctbone.reporting.study_page_front import front_blocks, front_set
from ctbone.reporting.subgroups import subgroups_section
from ctbone.reporting.worst_cases import worst_cases
from ctbone.study import Study

EXPLORATORY = "Exploratory"
_RESULTS = frozenset(
    {
        "folds",
        "curves",
        "reader_study",
        "reader_study_further",
        "discrimination",
        "confusion",
        "levels",
        "calibration",
        "decision",
        "comparisons",
        "readers",
        "side_by_side",
        "classes",
        "fusion",
        "conformal",
        "subgroups",
        "worst",
    }
)
"""Sections with results, all exploratory: the primary comparisons are on the first page."""


@dataclass(frozen=True)
class Made:
    """Everything that the page is made of.

    Attributes
    ----------
    study, cohort, tables, analysis, readers, runs, records, provenance
        The study, and what its stages and ``analyse`` found.
    named
        When the primary comparisons were named, those that were withdrawn among them.
    primary
        Their results.
    chapters
        Sections of other stages.
    """

    study: Study
    cohort: Cohort
    tables: list[Source]
    analysis: Analysis
    readers: JudgedReaders | None
    named: tuple[NamedComparison, ...]
    primary: tuple[PrimaryResult, ...]
    runs: RunRecords
    records: Records
    provenance: dict[str, Any]
    chapters: tuple[Section, ...]


@dataclass(frozen=True)
class _Parts:
    """Sections before the appendix, sections of the appendix, and the flow chart."""

    shown: list[Section]
    folded: list[Section]
    flow: list[Block]


def study_page(made: Made) -> Page:
    """Arrange the page.

    First the question, the patients' flow, the primary results and what they mean; then tables and
    figures in the order of the main paper (its Tables 1, 2 and 4, Figures 3 and 6, Table 3 and
    Figures 4 and 5); then everything else as a folded appendix.
    """
    settings, analysis = made.study.settings, made.analysis
    curves = curves_by_set(analysis, bands=True)
    parts = _parts(made, curves)
    audited = audit_section(made.study)
    parts.folded.extend([audited] if isinstance(audited, Section) else [])
    parts.folded.append(
        method_section(
            settings=settings_as_run(made.study, made.tables, made.runs),
            analysis=analysis,
            runs=made.runs,
            records=made.records,
            record=made.provenance,
        )
    )
    parts.folded.append(
        checklist_section(
            study=made.study,
            cohort=made.cohort,
            analysis=analysis,
            runs=made.runs,
            fusions=made.records.all,
            record=made.provenance,
            sections=[*parts.shown, *parts.folded],
        )
    )
    notices = _notices(made)
    notices += [audited] if isinstance(audited, Notice) else []
    front = front_blocks(
        analysis=analysis,
        primary=made.primary,
        named=made.named,
        curves=curves,
        flow=parts.flow,
        origins={source.name: source.origin for source in made.tables},
    )
    page = Page(
        title=settings.title or settings.name,
        subtitle=f"Study {settings.name}: {' or '.join(settings.classes)}",
        summary=(*notices, *front),
        sections=(
            *(_labelled(section) for section in parts.shown),
            *(replace(_labelled(section), folded=True) for section in parts.folded),
        ),
        metrics=_metrics(made, [*parts.shown, *parts.folded]),
        further_tables=further_tables(analysis, curves),
    )
    page = _without_doubles(page)
    return in_groups(page) if settings.grouping else page


def _metrics(made: Made, sections: Sequence[Section]) -> dict[str, Any]:
    settings = made.study.settings
    return {
        "study": settings.name,
        "study_title": settings.title or settings.name,
        "synthetic": is_synthetic(made.study),
        "primary": [result.as_dict() for result in made.primary],
        **made.analysis.metrics(),
        **({"readers": made.readers.as_dict()} if made.readers is not None else {}),
        **made.records.as_dict(),
        **{section.key: dict(section.metrics) for section in made.chapters if section.metrics},
        "baseline": baseline_record(sections),
        "records": study_facts(
            made.study,
            cohort=made.cohort,
            analysis=made.analysis,
            runs=made.runs,
            records=made.records,
        ),
        "made_elsewhere": [source.name for source in made.tables if source.origin == "elsewhere"],
        "provenance": made.provenance,
    }


def _parts(made: Made, curves: CurvesBySet) -> _Parts:
    """Divide the sections: what the paper prints in its order, and the rest."""
    analysis = made.analysis
    patients = patients_section(made.study, made.cohort, analysis, made.runs)
    flow: list[Block] = [block for block in patients.blocks if block.kind == "flow"]
    table_1 = [block for block in patients.blocks if block.kind != "flow"]
    every = {
        section.key: section
        for section in result_sections(analysis, curves, bands=True, fusions=made.records.names)
    }
    lead = front_set(analysis, made.primary)
    confusion = every.pop("confusion")
    performance = replace(
        confusion, title="Every model", blocks=(*_taken(every, ["auc"]), *confusion.blocks)
    )
    drawn = _taken(every, _figure_6(lead))
    readings = {section.key: section for section in made.chapters}
    reader_study = _taken(readings, ["reader_study_levels", "reader_study_distance"])
    folds = fold_section(analysis, made.records.names)
    every.pop("folds", None)
    where = Text(("The flow of the cases is on the first page.",))
    shown = [replace(patients, blocks=(where, *table_1))]
    shown += [folds] if folds is not None else []
    shown.append(performance)
    shown += [Section("curves", "Curves of every model", tuple(drawn))] if drawn else []
    if reader_study:
        rest = readings.pop("reader_study")
        shown.append(replace(rest, blocks=tuple(reader_study)))
        further = replace(rest, key="reader_study_further", title=f"{rest.title} in detail")
        readings["reader_study_further"] = further
    if "discrimination" in every:
        tables = summary_tables(analysis, {one.name: one.origin for one in made.tables})
        whole = every["discrimination"]
        every["discrimination"] = replace(whole, blocks=(*tables, *whole.blocks))
    folded = [section for section in every.values() if section.blocks]
    folded += [readers_section(analysis, made.readers)] if made.readers is not None else []
    beside = side_by_side_section(made.cohort, analysis, made.readers, made.records)
    classes = class_section(analysis, made.records.recalibrations)
    folded += [one for one in (beside, classes) if one is not None]
    folded += [section for section in readings.values() if section.blocks]
    folded += [fusion_section(analysis, made.records)] if made.records.all else []
    conformal = conformal_section(analysis, made.study.settings.prediction.error_rate)
    folded += [conformal] if conformal is not None else []
    divided = subgroups_section(made.study, made.cohort, analysis)
    folded += [divided] if divided is not None else []
    folded.append(worst_cases(made.study, analysis, made.tables))
    return _Parts(shown, folded, flow)


def _figure_6(lead: JudgedSet) -> list[str]:
    """Return the keys of ROC, calibration and decision curves, with two classes or more."""
    key = lead.case_set.key
    return ["roc", f"roc_{key}", f"calibration_{key}", "decision", f"decision_{key}"]


def _taken(sections: dict[str, Section], keys: Iterable[str]) -> list[Block]:
    """Take the figures and tables of some keys out of the sections, in the order of the keys."""
    wanted = list(keys)
    found: dict[str, list[Block]] = {key: [] for key in wanted}
    for name, section in sections.items():
        rest = []
        for block in section.blocks:
            key = _key(block)
            if key in found:
                found[key].append(block)
            else:
                rest.append(block)
        sections[name] = replace(section, blocks=tuple(rest))
    return [block for key in wanted for block in found[key]]


def _key(block: Block) -> str:
    if isinstance(block, FigureBlock):
        return block.drawn.key
    return block.table.key if isinstance(block, TableBlock) else ""


def _labelled(section: Section) -> Section:
    return replace(section, label=EXPLORATORY) if section.key in _RESULTS else section


def _without_doubles(page: Page) -> Page:
    """Drop tables and figures of the appendix that the first page shows."""
    first = {(type(block), _key(block)) for block in page.summary if _key(block)}
    sections = tuple(
        replace(
            section,
            blocks=tuple(b for b in section.blocks if (type(b), _key(b)) not in first),
        )
        for section in page.sections
    )
    return replace(page, sections=sections)


def _notices(made: Made) -> list[Block]:
    settings = made.study.settings
    notices: list[Block] = [_SYNTHETIC] if is_synthetic(made.study) else []
    notices += [grouping_notice(settings.grouping)] if settings.grouping else []
    return [
        *notices,
        *record_notices(made.study, made.tables, made.runs),
        *stale_notices(made.study),
        *elsewhere_notices(made.tables),
        *uneven_notices(made.analysis),
    ]


_SYNTHETIC = Notice(
    "Synthetic patients.",
    "A program made the images, the labels and the scores of the readers of this study. The "
    "numbers show that the software works; they say nothing about real patients.",
)


def is_synthetic(study: Study) -> bool:
    """Whether the patients are synthetic: the program that made them writes ``truth.json``."""
    return any(study.root.glob("truth.json")) or any(study.root.glob("*/truth.json"))


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
