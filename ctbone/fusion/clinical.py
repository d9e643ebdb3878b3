"""The clinical columns of a stack: numbers or levels, read from the cohort's table; nothing is fitted here."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence

import numpy as np
import pandas as pd

from ctbone.cohort import Cohort
from ctbone.errors import FusionError

MISSING = "missing"
"""The level of a case whose cell is empty."""

_MOST_LEVELS = 12


def clinical_columns(
    cohort: Cohort, columns: Sequence[str], case_ids: Sequence[str]
) -> pd.DataFrame:
    """Lay the clinical columns out, one row for each named case.

    A column in which every known cell of the cohort is a number is a number, missing where empty; any other is a level,
    ``missing`` where empty.

    Parameters
    ----------
    cohort
        The study's cases.
    columns
        Names of further columns of ``cohort.csv``.
    case_ids
        The rows, in their order; a case may stand several times.

    Returns
    -------
    pandas.DataFrame
        Float columns (NaN where missing) and text columns.

    Raises
    ------
    FusionError
        There is no such column, it is empty, is free text, or gives the class of every case away.
    """
    found: dict[str, np.ndarray] = {}
    place = {case.case_id: number for number, case in enumerate(cohort)}
    order = [place[case_id] for case_id in case_ids]
    known_columns = list(dict.fromkeys(name for case in cohort for name, _ in case.metadata))
    for name in columns:
        if name not in known_columns:
            nearest = difflib.get_close_matches(name, known_columns, n=1)
            raise FusionError(
                "the cohort has no such clinical column",
                found=name,
                expected=", ".join(known_columns) or "further columns in cohort.csv",
                remedy=f"did you mean '{nearest[0]}'?" if nearest else None,
            )
        cells = [dict(case.metadata).get(name, "").strip() for case in cohort]
        found[name] = _values(name, cells, [case.label for case in cohort])[order]
    return pd.DataFrame(found, index=range(len(order)))


def _values(name: str, cells: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    known = [cell for cell in cells if cell]
    if not known:
        raise FusionError(
            "the clinical column is empty",
            found=name,
            remedy="fill it, or leave it out of the stack",
        )
    numbers = [_number(cell) for cell in cells]
    levels = set(known)
    numeric = all(number is not None for number, cell in zip(numbers, cells, strict=True) if cell)
    if 1 < len(levels) <= (len(set(labels)) if numeric else _MOST_LEVELS):
        _refuse_the_answer(name, cells, labels)
    if numeric:
        return np.array([math.nan if number is None else number for number in numbers])
    if len(levels) > _MOST_LEVELS:
        raise FusionError(
            "the clinical column is free text, or names the patients",
            found=f"{name} with {len(levels)} different texts",
            expected=f"numbers, or {_MOST_LEVELS} levels at most",
        )
    return np.array([cell or MISSING for cell in cells], dtype=object)


def _refuse_the_answer(name: str, cells: Sequence[str], labels: Sequence[str]) -> None:
    """Refuse a column whose every level belongs to one class: it was written after the diagnosis."""
    classes: dict[str, set[str]] = {}
    for cell, label in zip(cells, labels, strict=True):
        if cell:
            classes.setdefault(cell, set()).add(label)
    if len(set(labels)) > 1 and all(len(of_level) == 1 for of_level in classes.values()):
        raise FusionError(
            "the clinical column gives the class of every case away",
            found=name,
            expected="what is known before the diagnosis",
            remedy="leave it out of the stack",
        )


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
