"""Clinical columns of ``cohort.csv``: numbers, levels, free text, and those that tell the class."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from ctbone.cohort import Case
from ctbone.errors import CtboneError

MOST_LEVELS = 12
"""A text column with more distinct cells than this is free text, or identifies the patients."""

_NUMERIC_FROM = 6
"""Distinct numbers from which a table of patients shows mean ± SD; fewer are counted as levels."""

Kind = Literal["number", "level", "text", "empty"]


@dataclass(frozen=True)
class ClinicalColumn:
    """One clinical column of some cases.

    Attributes
    ----------
    name
        The column of ``cohort.csv``.
    cells
        One a case, stripped; "" where empty.

    Examples
    --------
    >>> ClinicalColumn("age", ("41", "", "63.5")).kind
    'number'
    >>> ClinicalColumn("sex", ("F", "M", "F")).levels
    ('F', 'M')
    """

    name: str
    cells: tuple[str, ...]

    @cached_property
    def known(self) -> tuple[str, ...]:
        """The cells that are not empty."""
        return tuple(cell for cell in self.cells if cell)

    @cached_property
    def levels(self) -> tuple[str, ...]:
        """The distinct known cells, sorted."""
        return tuple(sorted(set(self.known)))

    @cached_property
    def kind(self) -> Kind:
        """``number``: all known cells are numbers; ``level``: at most 12 distinct texts."""
        if not self.known:
            return "empty"
        if all(number_of(cell) is not None for cell in self.levels):
            return "number"
        return "level" if len(self.levels) <= MOST_LEVELS else "text"

    @cached_property
    def numbers(self) -> tuple[float, ...]:
        """The cells as numbers, NaN where a cell is empty or no number."""
        found = (number_of(cell) for cell in self.cells)
        return tuple(math.nan if number is None else number for number in found)

    def kind_in_table(self) -> tuple[Kind, str]:
        """Return how a table of patients shows the column and, where it leaves it out, why.

        A few distinct numbers, such as a grade or 0 and 1, are counted as levels. Levels must
        repeat: there are at most half as many of them as known cells.

        Examples
        --------
        >>> ClinicalColumn("grade", ("1", "2", "2", "1")).kind_in_table()
        ('level', '')
        """
        if not self.known:
            return "empty", "empty"
        wrong = [cell for cell in self.known if number_of(cell) is None]
        if len(self.levels) >= _NUMERIC_FROM and not wrong:
            return "number", ""
        if len(self.levels) <= min(MOST_LEVELS, max(2, len(self.known) // 2)):
            return "level", ""
        if len(wrong) < len(self.known) / 2:
            share = f"{len(wrong)} of {len(self.known)} cells"
            return "text", f"{share} are no numbers, such as '{wrong[0][:20]}'"
        return "text", "free text"

    def require_usable(self, error: type[CtboneError], where: str = "") -> None:
        """Raise ``error`` where a model cannot take the column: it is empty, or free text."""
        if self.kind == "empty":
            raise error(
                f"the clinical column is empty{where}",
                found=self.name,
                remedy="fill it, or leave it out",
            )
        if self.kind == "text":
            raise error(
                "the clinical column is free text, or names the patients",
                found=f"{self.name} with {len(self.levels)} different texts",
                expected=f"numbers, or {MOST_LEVELS} levels at most",
            )


def number_of(cell: str) -> float | None:
    """Return the finite number that a cell holds; None where it holds none."""
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def with_unit(name: str) -> str:
    """Return the title of a clinical column with its unit, if its name tells it.

    Examples
    --------
    >>> with_unit("age"), with_unit("tumour_size_mm"), with_unit("sex")
    ('age (years)', 'tumour size (mm)', 'sex')
    """
    if name.casefold() in ("age", "patient_age", "age_at_diagnosis"):
        return f"{name.replace('_', ' ')} (years)"
    stem, _, ending = name.rpartition("_")
    unit = _UNITS.get(ending.casefold())
    return f"{stem.replace('_', ' ')} ({unit})" if stem and unit else name


_UNITS = {
    **{unit.casefold(): unit for unit in ("mm", "cm", "ml", "mL", "kg", "HU", "days", "months")},
    **{"years": "years", "year": "years", "percent": "%"},
}
"""Units by the last part of a column's name."""


def clinical_column(
    cases: Sequence[Case], name: str, error: type[CtboneError] = CtboneError
) -> ClinicalColumn:
    """Return one clinical column of these cases.

    Raises
    ------
    CtboneError
        As ``error``: no case has such a column; the nearest is named.
    """
    rows = [dict(case.metadata) for case in cases]
    present = list(dict.fromkeys(column for row in rows for column in row))
    if cases and name not in present:
        nearest = difflib.get_close_matches(name, present, n=1)
        raise error(
            "the cohort has no such clinical column",
            found=name,
            expected=", ".join(present) or "further columns in cohort.csv",
            remedy=f"did you mean '{nearest[0]}'?" if nearest else "add it to cohort.csv",
        )
    return ClinicalColumn(name, tuple(row.get(name, "").strip() for row in rows))


def refuse_giveaway(
    cases: Sequence[Case], columns: Sequence[str], error: type[CtboneError]
) -> None:
    """Refuse a column whose every level belongs to one class: it was filled in after the diagnosis.

    Numbers count as levels where there are at most as many distinct ones as classes: a 0/1 copy of
    the label is refused, ages are not. Empty cells are one more level where the known cells hold a
    single one.

    Raises
    ------
    CtboneError
        As ``error``, naming the column; or no case has such a column.
    """
    labels = [case.label for case in cases]
    for name in columns:
        column = clinical_column(cases, name, error)
        numeric = column.kind == "number"
        levels: Sequence[object] = column.numbers if numeric else column.cells
        most = len(set(labels)) if numeric else MOST_LEVELS
        classes: dict[object, set[str]] = {}
        empty: set[str] = set()
        for cell, level, label in zip(column.cells, levels, labels, strict=True):
            (classes.setdefault(level, set()) if cell else empty).add(label)
        if len(classes) == 1 and empty:
            classes[""] = empty
        one_class_each = all(len(found) == 1 for found in classes.values())
        if len(set(labels)) > 1 and 1 < len(classes) <= most and one_class_each:
            raise error(
                "the clinical column gives the class of every case away",
                found=name,
                expected="what is known before the diagnosis",
                remedy="leave it out",
            )
