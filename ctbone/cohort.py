"""The cohort table: cases, patients, labels and centres, and the check of the table."""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ctbone.config import Settings
from ctbone.differences import did_you_mean, nearest
from ctbone.errors import CohortError, CtboneError, StudyError
from ctbone.study import Study, content_hash, read_table

if TYPE_CHECKING:
    import pandas as pd

INTERNAL = "internal"
"""The cohort that takes part in cross-validation; every other name is an external centre."""

COLUMNS = ("case_id", "patient_id", "label", "cohort", "image", "mask")
LESION = "lesion"
"""Optional column: number of the mask's separate part that is the case, 1 the largest."""
BOX = ("x0", "y0", "x1", "y1")
"""Optional columns: region of a radiograph in pixels, from the upper left corner."""
FRAME = "frame"
"""Optional column: number of the frame of a DICOM radiograph that has several, from 1."""
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
    box
        ``x0, y0, x1, y1`` of a radiograph's region, in pixels; None where the columns are empty.
    frame
        Number of a DICOM radiograph's frame, from 1; None where it has one.
    """

    case_id: str
    patient_id: str
    label: str
    cohort: str
    image: Path
    mask: Path | None
    metadata: tuple[tuple[str, str], ...] = ()
    lesion: int | None = None
    box: tuple[float, float, float, float] | None = None
    frame: int | None = None


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


def safe_id(name: str) -> bool:
    """Whether a name can be a case_id: up to 64 letters, digits, ``_ - .``.

    Examples
    --------
    >>> safe_id("P012"), safe_id("../P012")
    (True, False)
    """
    return _SAFE_ID.fullmatch(name) is not None


def read_cohort(study: Study) -> Cohort:
    """Read ``cohort.csv``.

    Raises
    ------
    CohortError, StudyError
        The table has an error; the message says how many more there are.
    """
    table = _parse(study)
    if table.problems:
        raise first_of(table.problems)
    return Cohort(tuple(table.cases))


def first_of(problems: Sequence[CtboneError]) -> CtboneError:
    """Return the first problem, which says how many more there are."""
    first, rest = problems[0], len(problems) - 1
    if rest:
        more = f"{rest} more problem{'s' * (rest > 1)}: 'ctbone check' lists all of them"
        first.remedy = f"{first.remedy}; {more}" if first.remedy else more
    return first


def cohort_table(cohort: Cohort) -> pd.DataFrame:
    """Return the cases as a table: ``COLUMNS``, ``lesion`` where it is set, clinical columns."""
    import pandas as pd

    rows = []
    for case in cohort:
        row: dict[str, object] = {name: getattr(case, name) for name in COLUMNS}
        if case.lesion is not None:
            row[LESION] = case.lesion
        if case.box is not None:
            row |= dict(zip(BOX, case.box, strict=True))
        if case.frame is not None:
            row[FRAME] = case.frame
        rows.append({**row, **dict(case.metadata)})
    return pd.DataFrame(rows, columns=None if rows else list(COLUMNS))


@dataclass(frozen=True)
class CohortFindings:
    """Everything that the cohort table shows without opening an image.

    Attributes
    ----------
    problems
        Errors of the table, missing files, and classes with fewer patients than folds.
    notes
        Findings that may be right, one line each.
    cases
        The rows without an error.
    named
        The rows whose case_id, image and lesion can be read, also those with an error in another
        cell; the label is "" where it is not one of the classes.
    with_files
        Those of ``named`` whose image and mask exist.
    """

    problems: list[CtboneError]
    notes: list[str]
    cases: Cohort
    named: Cohort
    with_files: Cohort


def examine_cohort(study: Study) -> CohortFindings:
    """Check the whole cohort table; an error in one cell does not hide those of other cells."""
    try:
        table = _parse(study)
    except StudyError as error:
        none = Cohort(())
        return CohortFindings([error], [], cases=none, named=none, with_files=none)
    problems, with_files = list(table.problems), []
    for case in table.readable:
        missing = _missing_files(study, case)
        problems += missing
        if not missing and case.case_id not in table.without_box:
            with_files.append(case)
    problems += _too_few(study, table)
    cases = Cohort(tuple(table.cases))
    return CohortFindings(
        problems=problems,
        notes=_several_classes(cases),
        cases=cases,
        named=Cohort(tuple(table.readable)),
        with_files=Cohort(tuple(with_files)),
    )


def check_cohort(study: Study) -> list[CtboneError]:
    """List the problems of ``examine_cohort``."""
    return examine_cohort(study).problems


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


@dataclass
class _Table:
    """The rows of ``cohort.csv``.

    Attributes
    ----------
    cases
        Those without an error.
    readable
        Those whose case_id, image, mask and lesion can be looked at; the label is "" where it is
        not one of the classes.
    problems
        The errors of rows, then those of the whole table.
    without_box
        case_id of each radiograph whose box or frame cannot be read.
    """

    cases: list[Case]
    readable: list[Case]
    problems: list[CtboneError]
    without_box: set[str]


def _parse(study: Study) -> _Table:
    table = read_table(
        study.cohort_csv,
        _REQUIRED,
        remedy="write one row a case: case_id, patient_id, label, cohort, image, mask",
    )
    parsed = _Table([], [], _misspelled_columns(study, [*table.columns]), set())
    rows_of: dict[str, int] = {}
    cohorts: dict[str, list[int]] = {}
    if table.empty:
        parsed.problems.append(
            CohortError(
                "the cohort has no cases", file=study.cohort_csv, remedy="write one row a case"
            )
        )
    for number, cells in enumerate(table.to_dict("records"), start=2):
        row = {str(name): str(cell) for name, cell in cells.items()}
        case_id = row["case_id"]
        found = _row_problems(study, row, number=number, rows_of=rows_of)
        readable = _is_readable(row) and case_id.casefold() not in rows_of
        if _box_problem(study, row) is not None:
            parsed.without_box.add(case_id)
        rows_of.setdefault(case_id.casefold(), number)
        cohorts.setdefault(row.get("cohort", ""), []).append(number)
        parsed.problems += found
        case = _case(study, row, label_of(row["label"], study.settings) or "") if readable else None
        if case is not None:
            parsed.readable.append(case)
        if case is not None and not found:
            parsed.cases.append(case)
    parsed.problems += _misspelled_cohorts(study, cohorts)
    parsed.problems += _both_sides(study, parsed.cases)
    return parsed


def _is_readable(row: dict[str, str]) -> bool:
    lesion = row.get(LESION, "")
    return bool(_SAFE_ID.fullmatch(row["case_id"]) and row["image"]) and (
        not lesion or _is_lesion_number(lesion)
    )


def _is_lesion_number(cell: str) -> bool:
    return cell.isascii() and cell.isdecimal() and 0 < int(cell) < 1000


def _misspelled_columns(study: Study, header: Sequence[str]) -> list[CtboneError]:
    """Refuse a column that is almost one of ours where that is missing: it would be ignored."""
    problems: list[CtboneError] = []
    for name in ("patient_id", "cohort", "mask"):
        others = [other for other in header if other not in (*COLUMNS, LESION)]
        near = None if name in header else nearest(name, others, cutoff=0.85)
        if near is not None:
            problems.append(
                CohortError(
                    f"the column '{near}' is no column of ctbone, and '{name}' is missing",
                    file=study.cohort_csv,
                    remedy=f"did you mean '{name}'? Rename the column; a clinical column needs "
                    "another name",
                )
            )
    return problems


_INTERNAL_WORDS = frozenset({"int", "intern", "interne", "interno", "interna"})
"""Abbreviation and translations that spreadsheets of internal cases hold."""


def _means_internal(cohort: str) -> bool:
    """Whether a name is a spelling of ``internal``, such as ``Internal_2`` or ``interal``."""
    letters = "".join(filter(str.isalpha, cohort.casefold()))
    # 0.85: one or two letters of eight; external has 0.75.
    alike = difflib.SequenceMatcher(None, letters, INTERNAL).ratio() >= 0.85
    return letters in _INTERNAL_WORDS or alike


def _misspelled_cohorts(study: Study, rows_of: Mapping[str, list[int]]) -> list[CtboneError]:
    """Refuse spellings of ``internal``, and two spellings of one external centre."""
    problems: list[CtboneError] = []
    first: dict[str, str] = {}
    for cohort, rows in sorted(rows_of.items(), key=lambda item: -len(item[1])):
        known = first.setdefault(cohort.casefold(), cohort)
        meant = INTERNAL if _means_internal(cohort) else known
        if cohort and cohort != meant:
            problems.append(
                CohortError(
                    f"the cohort '{cohort}' would be an external centre"
                    if meant == INTERNAL
                    else f"the cohort '{cohort}' would be another centre than '{meant}'",
                    file=study.cohort_csv,
                    found=f"{len(rows)} row{'s' * (len(rows) > 1)}, from row {rows[0]}",
                    remedy=f"did you mean '{meant}'? Give another centre another name",
                )
            )
    return problems


def _both_sides(study: Study, cases: Sequence[Case]) -> list[CtboneError]:
    """Refuse patients with internal and external cases: the models have seen them."""
    outside = {case.patient_id: case for case in cases if not _counts_as_internal(case)}
    problems: list[CtboneError] = []
    for case in cases:
        if _counts_as_internal(case) and case.patient_id in outside:
            other = outside.pop(case.patient_id)
            problems.append(
                CohortError(
                    f"patient {case.patient_id} is both internal and external",
                    file=study.cohort_csv,
                    found=f"case {case.case_id} in '{case.cohort}', case {other.case_id} in "
                    f"'{other.cohort}'",
                    expected="external patients that no model was trained on",
                    remedy="correct patient_id or cohort, or leave one of the cases out",
                )
            )
    return problems


def _counts_as_internal(case: Case) -> bool:
    return case.cohort == INTERNAL or _means_internal(case.cohort)


def _several_classes(cohort: Cohort) -> list[str]:
    """Note the patients whose cases have several classes, which is right for several lesions."""
    of_patient: dict[str, list[Case]] = {}
    for case in cohort:
        of_patient.setdefault(case.patient_id, []).append(case)
    notes = []
    for patient, cases in of_patient.items():
        if len({case.label for case in cases}) > 1:
            named = ", ".join(f"{case.case_id} {case.label}" for case in cases)
            notes.append(f"patient {patient} has cases of several classes: {named}; is that right?")
    return notes


def _case(study: Study, row: dict[str, str], label: str) -> Case:
    mask, lesion = row.get("mask", ""), row.get(LESION, "")
    ours = _own_columns(study)
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
            if name not in ours
        ),
        lesion=int(lesion) if lesion else None,
        **_radiograph_cells(study, row),
    )


def _own_columns(study: Study) -> tuple[str, ...]:
    """Return the columns that are not clinical."""
    return (*COLUMNS, LESION, *((*BOX, FRAME) if study.settings.of_radiographs else ()))


def _radiograph_cells(study: Study, row: dict[str, str]) -> dict[str, Any]:
    """Return box and frame of a row; None for cells that ``_box_problem`` refuses."""
    if not study.settings.of_radiographs:
        return {}
    cells, frame = [row.get(name, "") for name in BOX], row.get(FRAME, "")
    box = None if not all(cells) or _box_problem(study, row) else tuple(map(float, cells))
    return {"box": box, "frame": int(frame) if _is_lesion_number(frame) else None}


def _box_problem(study: Study, row: dict[str, str]) -> str | None:
    """Return why the cells of the box or the frame cannot be read; None where they can."""
    if not study.settings.of_radiographs:
        return None
    frame = row.get(FRAME, "")
    if frame and not _is_lesion_number(frame):
        return f"the frame is '{frame}', not a number from 1"
    cells = [row.get(name, "") for name in BOX]
    if not any(cells):
        return None
    if not all(cells):
        return "the box has empty cells"
    try:
        return None if all(map(math.isfinite, map(float, cells))) else "the box is not finite"
    except ValueError:
        return "the box holds text"


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
                remedy=did_you_mean(
                    row["label"],
                    study.settings.classes,
                    otherwise="correct the cell, or 'classes' in study.yaml",
                ),
            )
        )
    if not row["image"]:
        problems.append(
            CohortError(
                "the case has no image", case=case_id, file=where, remedy="fill the image column"
            )
        )
    lesion = row.get(LESION, "")
    if lesion and not _is_lesion_number(lesion):
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
    box = _box_problem(study, row)
    if box is not None:
        problems.append(
            CohortError(
                box,
                case=case_id,
                file=where,
                found=", ".join(f"{name} {row.get(name, '')!r}" for name in (*BOX, FRAME)),
                expected="four numbers in pixels, or four empty cells; a frame from 1, or empty",
                remedy="correct the cells",
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
        if path is None or path.exists():
            continue
        remedy = (
            f"correct the {kind} column of {study.cohort_csv.name}; "
            "paths are relative to the study folder"
        )
        problem, expected = f"the {kind} does not exist", None
        if os.sep == "/" and "\\" in str(path):
            problem = f"the path of the {kind} has backslashes, which only Windows reads"
            expected = str(path).replace("\\", "/")
            remedy = f"write / in the {kind} column of {study.cohort_csv.name}"
        problems.append(
            CohortError(problem, case=case.case_id, file=path, expected=expected, remedy=remedy)
        )
    return problems


def _too_few(study: Study, table: _Table) -> list[CtboneError]:
    """Refuse classes with fewer patients than folds; a case without a valid label may be of any."""
    folds = study.settings.folds.count
    problems: list[CtboneError] = []
    inside = [case for case in table.readable if _counts_as_internal(case)]
    for name in study.settings.classes:
        patients = {case.patient_id for case in inside if case.label == name}
        if len(patients | {case.patient_id for case in inside if not case.label}) < folds:
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
