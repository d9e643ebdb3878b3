"""The section on checklists: what this report answers to the items of reporting guidelines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ctbone.cohort import Cohort
from ctbone.document import (
    Cell,
    Section,
    SectionLink,
    Table,
    TableBlock,
    TableColumn,
    Text,
    plain_table,
)
from ctbone.reporting.analysis import Analysis
from ctbone.reporting.checklist_answers import ChecklistAnswer, checklist_answers
from ctbone.reporting.checklist_items import GUIDELINES, Guideline, Item
from ctbone.reporting.fusion_records import FusionRecord, RecalibrationRecord, StackingRecord
from ctbone.reporting.run_records import RunRecords
from ctbone.study import Study

KEY = "checklists"
TITLE = "Checklists"
_LEFT = "For the authors to write"


def checklist_section(
    *,
    study: Study,
    cohort: Cohort,
    analysis: Analysis,
    runs: RunRecords,
    fusions: Sequence[FusionRecord | StackingRecord | RecalibrationRecord],
    record: dict[str, Any],
    sections: Sequence[Section],
) -> Section:
    """Fill every checklist; an answer refers only to a section that the page has."""
    answers = checklist_answers(
        study=study,
        cohort=cohort,
        analysis=analysis,
        runs=runs,
        fusions=fusions,
        record=record,
        sections=[*sections, Section(KEY, TITLE, ())],
    )
    words = Text(
        (
            "Where this report answers the items of three reporting guidelines and of a quality "
            "score, and which items are left to the authors. Each table is also a Word and a CSV "
            "file in tables/.",
        )
    )
    tables = tuple(TableBlock(checklist(guideline, answers)) for guideline in GUIDELINES)
    return Section(KEY, TITLE, (words, *tables))


def checklist(guideline: Guideline, answers: Mapping[str, ChecklistAnswer]) -> Table:
    """Fill the items of a guideline; items without an answer are left to the authors.

    Parameters
    ----------
    guideline
        The guideline.
    answers
        The answers of the report, by topic.

    Returns
    -------
    Table
        One row an item; an item whose condition does not hold is not applicable.
    """
    columns = [
        TableColumn(name, name.capitalize(), "text")
        for name in ("item", "subject", "section", "answer")
    ]
    rows = [_row(item, answers) for item in guideline.items]
    given = sum(item.topic in answers and not _excluded(item, answers) for item in guideline.items)
    excluded = sum(_excluded(item, answers) for item in guideline.items)
    apart = f", {excluded} do not apply" if excluded else ""
    note = (
        f"Items of {guideline.title} ({guideline.source}) in our words. {guideline.checked}. This "
        f"report answers {given} of {len(rows)}{apart}; the authors answer the rest."
    )
    table = plain_table(
        key=guideline.key, title=guideline.title, columns=columns, rows=rows, note=note
    )
    return replace(table, word=True)


def _row(item: Item, answers: Mapping[str, ChecklistAnswer]) -> list[Cell]:
    if _excluded(item, answers):
        return [item.number, item.subject, "–", f"Not applicable: see {item.condition.lower()}"]
    found = answers.get(item.topic)
    if found is None:
        return [item.number, item.subject, "–", _LEFT]
    link = SectionLink(found.title, found.section) if found.section else "–"
    return [item.number, item.subject, link, found.text]


def _excluded(item: Item, answers: Mapping[str, ChecklistAnswer]) -> bool:
    """Whether the condition of an item is known not to hold."""
    condition = answers.get(item.condition.lower())
    return condition is not None and condition.denies
