"""The cohort table: cases, patients, labels and centres, and the check of the table."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ctbone.config import Settings
from ctbone.errors import CohortError, CtboneError, StudyError
from ctbone.study import Study, content_hash, read_table

if TYPE_CHECKING:
    import pandas as pd

INTERNAL = "internal"
"""The cohort that takes part in cross-validation; every other name is an external centre."""

COLUMNS = ("case_id", "patient_id", "label", "cohort", "image", "mask")
LESION = "lesion"
"""Optional column: number of the mask's separate part that is the case, 1 the largest."""
_REQUIRED = ("case_id", "label", "image")
_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

EMPTY_CELLS = frozenset({"", "na", "n/a", "n.a.", "nan", "null", "-", "?"})
"""Cells of clinical columns that count as missing, in lower case."""


@dataclass(frozen=True)
class Case:
    """One lesion of one patient.

    Attributes
    ----------
    case_id
        Unique; names the case's files.
    patient_id
        Folds keep the cases of a patient together.
    label
        A class of the settings.
    cohort
        ``internal`` or the name of an external centre.
    image
        A DICOM folder, a DICOM file or a NIfTI file.
    mask
        The lesion's mask; None where the whole image is used.
    metadata
        Clinical columns: name and cell of every further column, in the table's order.
    lesion
        Number of the mask's separate part that is the case, 1 the largest; None applies
        ``preprocess.lesions`` of the settings.
    """

    case_id: str
    patient_id: str
    label: str
    cohort: str
    image: Path
    mask: Path | None
    metadata: tuple[tuple[str, str], ...] = ()
    lesion: int | None = None


@dataclass(frozen=True)
class Cohort:
    """The cases of a study, in the order of its table."""

    cases: tuple[Case, ...]

    def __iter__(self) -> Iterator[Case]:
        return iter(self.cases)

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def internal(self) -> tuple[Case, ...]:
        """The cases of the cross-validation."""
        return tuple(case for case in self.cases if case.cohort == INTERNAL)

    @property
    def external(self) -> tuple[Case, ...]:
        """The cases of all external centres."""
        return tuple(case for case in self.cases if case.cohort != INTERNAL)

    def case(self, case_id: str) -> Case:
        """Return one case.

        Raises
        ------
        CohortError
            The case does not exist; the message names the nearest case_id.
        """
        for case in self.cases:
            if case.case_id == case_id:
                return case
        nearest = difflib.get_close_matches(
            case_id, [case.case_id for case in self.cases], n=1, cutoff=0
        )
        raise CohortError(
            "the cohort has no such case",
            case=case_id,
            remedy=f"did you mean '{nearest[0]}'?" if nearest else None,
        )

    def identity(self) -> str:
        """Hash of the internal cases, their patients and labels, on which the folds depend."""
        return content_hash(
            sorted((case.case_id, case.patient_id, case.label) for case in self.internal)
        )


def read_cohort(study: Study) -> Cohort:
    """Read ``cohort.csv``.

    Raises
    ------
    CohortError, StudyError
        The table has an error; the message says how many more there are.
    """
    cases, problems = _parse(study)
    if problems:
        rest = len(problems) - 1
        first = problems[0]
        if rest:
            more = f"{rest} more problem{'s' * (rest > 1)}: 'ctbone check' lists all of them"
            first.remedy = f"{first.remedy}; {more}" if first.remedy else more
        raise first
    return Cohort(tuple(cases))


def cohort_table(cohort: Cohort) -> pd.DataFrame:
    """Return the cases as a table: ``COLUMNS``, ``lesion`` where it is set, clinical columns."""
    import pandas as pd

    rows = []
    for case in cohort:
        row: dict[str, object] = {name: getattr(case, name) for name in COLUMNS}
        if case.lesion is not None:
            row[LESION] = case.lesion
        rows.append({**row, **dict(case.metadata)})
    return pd.DataFrame(rows, columns=None if rows else list(COLUMNS))


def check_cohort(study: Study) -> list[CtboneError]:
    """List the errors that show without opening an image.

    These are errors of the table, missing files, and classes with fewer patients than folds.
    """
    try:
        cases, problems = _parse(study)
    except StudyError as error:
        return [error]
    for case in cases:
        problems += _missing_files(study, case)
    return problems + _too_few(study, cases)


def label_of(text: str, settings: Settings) -> str | None:
    """Return the class that a label cell names, by name (in any case) or by number from 0.

    Examples
    --------
    >>> settings = Settings(name="pilot")
    >>> label_of("Malignant", settings), label_of("0", settings), label_of("unknown", settings)
    ('malignant', 'benign', None)
    """
    for name in settings.classes:
        if text.casefold() == name.casefold():
            return name
    number = text.removesuffix(".0")
    if number.isdecimal() and int(number) < len(settings.classes):
        return settings.classes[int(number)]
    return None


def _parse(study: Study) -> tuple[list[Case], list[CtboneError]]:
    table = read_table(
        study.cohort_csv,
        _REQUIRED,
        remedy="write one row a case: case_id, patient_id, label, cohort, image, mask",
    )
    cases: list[Case] = []
    problems: list[CtboneError] = []
    rows_of: dict[str, int] = {}
    if table.empty:
        problems.append(
            CohortError(
                "the cohort has no cases", file=study.cohort_csv, remedy="write one row a case"
            )
        )
    for number, cells in enumerate(table.to_dict("records"), start=2):
        row = {str(name): str(cell) for name, cell in cells.items()}
        case_id = row["case_id"]
        found = _row_problems(study, row, number=number, rows_of=rows_of)
        rows_of.setdefault(case_id.casefold(), number)
        problems += found
        label = label_of(row["label"], study.settings)
        if not found and label is not None:
            cases.append(_case(study, row, label))
    return cases, problems


def _case(study: Study, row: dict[str, str], label: str) -> Case:
    mask, lesion = row.get("mask", ""), row.get(LESION, "")
    return Case(
        case_id=row["case_id"],
        patient_id=row.get("patient_id", "") or row["case_id"],
        label=label,
        cohort=row.get("cohort", "") or INTERNAL,
        image=study.root / row["image"],
        mask=study.root / mask if mask else None,
        metadata=tuple(
            (name, "" if cell.strip().casefold() in EMPTY_CELLS else cell)
            for name, cell in row.items()
            if name not in (*COLUMNS, LESION)
        ),
        lesion=int(lesion) if lesion else None,
    )


def _row_problems(
    study: Study, row: dict[str, str], *, number: int, rows_of: dict[str, int]
) -> list[CtboneError]:
    where = f"{study.cohort_csv}, row {number}"
    case_id = row["case_id"]
    problems: list[CtboneError] = []
    if not _SAFE_ID.fullmatch(case_id):
        problems.append(
            CohortError(
                "the case_id cannot name a file",
                file=where,
                found=repr(case_id),
                expected="up to 64 letters, digits, '_', '-' or '.', the first a letter or digit",
            )
        )
    elif case_id.casefold() in rows_of:
        problems.append(
            CohortError(
                f"row {rows_of[case_id.casefold()]} has this case_id already",
                case=case_id,
                file=where,
                remedy="give every case its own case_id; upper and lower case count as equal",
            )
        )
    if label_of(row["label"], study.settings) is None:
        problems.append(
            CohortError(
                "the label is not one of the classes",
                case=case_id,
                file=where,
                found=repr(row["label"]),
                expected=", ".join(study.settings.classes),
                remedy="correct the cell, or 'classes' in study.yaml",
            )
        )
    if not row["image"]:
        problems.append(
            CohortError(
                "the case has no image", case=case_id, file=where, remedy="fill the image column"
            )
        )
    lesion = row.get(LESION, "")
    if lesion and not (lesion.isascii() and lesion.isdecimal() and 0 < int(lesion) < 1000):
        problems.append(
            CohortError(
                "the lesion is not the number of a part of the mask",
                case=case_id,
                file=where,
                found=repr(lesion),
                expected="1 for the largest part, 2 for the next, or empty",
                remedy=f"correct the cell; if '{LESION}' is a clinical column, rename it",
            )
        )
    cohort = row.get("cohort", "")
    if cohort and not _SAFE_ID.fullmatch(cohort):
        problems.append(
            CohortError(
                "the name of the cohort is not allowed",
                case=case_id,
                file=where,
                found=repr(cohort),
                expected="up to 64 letters, digits, '_', '-' or '.'",
            )
        )
    return problems


def _missing_files(study: Study, case: Case) -> list[CtboneError]:
    problems: list[CtboneError] = []
    for kind, path in (("image", case.image), ("mask", case.mask)):
        if path is not None and not path.exists():
            remedy = (
                f"correct the {kind} column of {study.cohort_csv.name}; "
                "paths are relative to the study folder"
            )
            problems.append(
                CohortError(
                    f"the {kind} does not exist", case=case.case_id, file=path, remedy=remedy
                )
            )
    return problems


def _too_few(study: Study, cases: Sequence[Case]) -> list[CtboneError]:
    folds = study.settings.folds.count
    problems: list[CtboneError] = []
    for name in study.settings.classes:
        patients = {
            case.patient_id for case in cases if case.cohort == INTERNAL and case.label == name
        }
        if len(patients) < folds:
            problems.append(
                CohortError(
                    f"class '{name}' has fewer internal patients than there are folds",
                    file=study.cohort_csv,
                    found=len(patients),
                    expected=f"{folds} or more",
                    remedy="add cases, or lower folds.count in study.yaml",
                )
            )
    return problems
