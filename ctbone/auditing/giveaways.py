"""Clinical columns that hold the diagnosis, or were filled in because of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import comb

from ctbone.auditing.columns import AuditColumn, clinical_columns
from ctbone.clinical import MOST_LEVELS, ClinicalColumn, refuse_giveaway
from ctbone.cohort import Case
from ctbone.errors import AuditError
from ctbone.findings import Finding

_CHANCE = 0.01
"""Probability, over all columns, that a column is filled for one class only by chance."""
_PER_LEVEL = 4
"""Cases a level that a column has at least before it can be equal to the label but for one case."""
_SPARED = 5
"""Errors that a copy of the label saves at least, against always naming the most frequent class."""

_REMEDY = "leave it out of every model and stack; it was probably filled in after the diagnosis"


def giveaway_findings(cases: Sequence[Case]) -> list[Finding]:
    """Return the columns that give the class away, or one finding that there are none."""
    columns = clinical_columns(cases)
    if not columns or len({case.label for case in cases}) < 2:
        verdict = "cohort.csv has no clinical columns" if not columns else "there is one class only"
        return [Finding("giveaways", "clinical columns", "clear", verdict)]
    found = [finding for column in columns if (finding := _finding(column, len(columns)))]
    if found:
        return found
    verdict = "none holds the class, none is filled for one class only"
    return [
        Finding(
            check="giveaways",
            subject="clinical columns",
            state="clear",
            verdict=verdict,
            measure="columns",
            value=len(columns),
        )
    ]


def _finding(column: AuditColumn, tested: int) -> Finding | None:
    try:
        refuse_giveaway(column.cases, [column.name], AuditError)
    except AuditError:
        return _problem(column, "every level of it belongs to one class", 0)
    for cells, verb in (
        ([*map(bool, column.cells)], "filled"),
        ([not c for c in column.cells], "empty"),
    ):
        chance = _chance_of_one_class(column.cases, cells)
        if chance is not None and chance * tested * 2 < _CHANCE:
            count = sum(cells)
            return _problem(column, f"it is {verb} for one class only", count)
    wrong = _exceptions(column)
    if wrong == 0:
        return _problem(column, "every level of it belongs to one class", 0)
    if wrong is not None:
        plural = "" if wrong == 1 else "s"
        return _problem(column, f"it is equal to the label but for {wrong} case{plural}", wrong)
    return None


def _problem(column: AuditColumn, verdict: str, count: int) -> Finding:
    return Finding(
        check="giveaways",
        subject=column.name,
        state="problem",
        verdict=verdict,
        remedy=_REMEDY,
        measure="cases" if count else "",
        value=count or None,
    )


def _chance_of_one_class(cases: Sequence[Case], marked: Sequence[bool]) -> float | None:
    """Return the probability that all marked patients are of one class; None if they are not.

    Hypergeometric: the marked patients are a random draw of all patients.
    """
    labels = {case.patient_id: case.label for case in cases}
    drawn = {case.patient_id for case, mark in zip(cases, marked, strict=True) if mark}
    found = {case.label for case, mark in zip(cases, marked, strict=True) if mark}
    if len(found) != 1 or len(drawn) == len(labels):
        return None
    sizes = Counter(labels.values())
    return sum(comb(size, len(drawn)) for size in sizes.values()) / comb(len(labels), len(drawn))


def _exceptions(column: AuditColumn) -> int | None:
    """Return how many cases differ from the label if they are few; None if they are many.

    Each level stands for its most frequent class. Few is one case, or 2 % of the known ones.
    """
    known = [
        (cell, case.label) for cell, case in zip(column.cells, column.cases, strict=True) if cell
    ]
    levels = Counter(cell for cell, _ in known)
    is_number = ClinicalColumn(column.name, column.cells).kind == "number"
    most = min(len(known) // _PER_LEVEL, MOST_LEVELS if is_number else len(known))
    if not 1 < len(levels) <= most:
        return None
    counts = Counter(known)
    highest: dict[str, int] = {}
    for (cell, _), count in counts.items():
        highest[cell] = max(count, highest.get(cell, 0))
    wrong = len(known) - sum(highest.values())
    guessed = len(known) - max(Counter(label for _, label in known).values())
    return wrong if wrong <= max(1, len(known) // 50) and guessed - wrong >= _SPARED else None
