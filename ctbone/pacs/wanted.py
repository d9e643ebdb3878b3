"""The table of examinations to pull, with their pseudonyms; the user keeps it outside the study."""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from ctbone.errors import PacsError

Key = Literal["AccessionNumber", "PatientID", "StudyInstanceUID"]
_COLUMNS: dict[str, Key] = {
    "accession": "AccessionNumber",
    "patient_id": "PatientID",
    "study_uid": "StudyInstanceUID",
}
_CASE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""As in cohort.csv."""
_WILDCARDS = frozenset("*?\\")
"""Characters that match several examinations in a query, or separate values (PS3.4 C.2.2.2)."""


@dataclass(frozen=True)
class Wanted:
    """One examination to pull.

    Attributes
    ----------
    case_id
        The pseudonym, which names the folder.
    key, value
        What the archive is asked for; ``value`` is private and never shown.
    """

    case_id: str
    key: Key
    value: str


def read_wanted(path: Path, study: Path) -> list[Wanted]:
    """Read the table: ``case_id`` and one of ``accession``, ``patient_id`` and ``study_uid``.

    Raises
    ------
    PacsError
        The table lies in the study, is missing or has bad rows; values are never quoted.
    """
    assert set(_COLUMNS.values()) == set(get_args(Key))
    if path.resolve().is_relative_to(study.resolve()):
        raise PacsError(
            "the table lies in the study folder",
            file=path,
            remedy="keep it elsewhere: it links pseudonyms with patients",
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise PacsError("the table cannot be read", file=path, found=type(error).__name__) from None
    first = text.partition("\n")[0]
    delimiter = max(",;\t", key=first.count)
    rows = list(csv.DictReader(text.splitlines(), delimiter=delimiter))
    names = [name for name in _COLUMNS if rows and name in rows[0]]
    if not rows or "case_id" not in rows[0] or len(names) != 1:
        raise PacsError(
            "the table has not the right columns",
            file=path,
            expected=f"case_id and one of {', '.join(_COLUMNS)}",
        )
    return [_row(row, names[0], number, path) for number, row in enumerate(_unique(rows, path), 2)]


def _unique(rows: list[dict[str, str]], path: Path) -> list[dict[str, str]]:
    cases = [(row["case_id"] or "").strip() for row in rows]
    repeated = sorted({case for case in cases if cases.count(case) > 1})
    if repeated:
        raise PacsError(
            "a case_id occurs twice", file=path, found=f"lines of {len(repeated)} cases"
        )
    return rows


def _row(row: dict[str, str], name: str, number: int, path: Path) -> Wanted:
    case_id, value = (row["case_id"] or "").strip(), (row[name] or "").strip()
    if not _CASE_ID.fullmatch(case_id):
        raise PacsError(
            f"line {number}: the case_id is not valid",
            file=path,
            expected="up to 64 letters, digits, _ - .",
        )
    if not value or _WILDCARDS & set(value):
        raise PacsError(f"line {number}: {name} is empty or holds a wildcard (* ? \\)", file=path)
    return Wanted(case_id, _COLUMNS[name], value)
