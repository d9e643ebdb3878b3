"""The columns that an audit tests: clinical, of the acquisition, of the lesion, and the order."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

import numpy as np

from ctbone.clinical import MOST_LEVELS, ClinicalColumn
from ctbone.cohort import EMPTY_CELLS, Case, Cohort
from ctbone.errors import StudyError
from ctbone.study import Study, read_json, read_table, record_of

Kind = Literal["acquisition", "clinical", "biology", "lesion", "order", "centre"]

_ACQUISITION_WORDS = frozenset(
    {
        *("kv", "kvp", "mas", "kernel", "reconstruction", "thickness", "spacing", "increment"),
        *("manufacturer", "vendor", "scanner", "device", "machine", "protocol", "contrast", "dose"),
        *("centre", "center", "hospital", "institution", "institute", "clinic"),
        *("date", "day", "month", "year"),
    }
)
"""Words in the name of a clinical column that describe the scan, not the patient."""
_BIOLOGY_WORDS = frozenset(
    ("age", "birth", "sex", "gender", "volume", "size", "diameter", "height", "weight", "bmi")
)
"""Words in the name of a column that may be associated with the class for biological reasons."""
_CENTRE_WORDS = frozenset(
    ("centre", "center", "hospital", "institution", "institute", "clinic", "site")
)
"""Words in the name of a column that holds a centre."""
_DATES = ("%Y-%m-%d", "%Y/%m/%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y-%m", "%m.%Y", "%m/%Y")
_RARE = 3
"""A level of fewer cases is pooled with the other rare levels."""
_MOST_INDICATORS = 30
"""The most frequent levels of a text get an indicator each; the others are pooled."""
_BINS = 5
"""Quantile bins of a number, which show an association that is not monotone."""


@dataclass(frozen=True)
class AuditColumn:
    """One column of some cases.

    Attributes
    ----------
    name, kind
        Of the column.
    cases
        The cases, in the order of the cohort table.
    cells
        One a case; "" where unknown.
    """

    name: str
    kind: Kind
    cases: tuple[Case, ...]
    cells: tuple[str, ...]

    @property
    def is_constant(self) -> bool:
        """Whether all cells are equal."""
        return len(set(self.cells)) < 2

    def features(self) -> np.ndarray:
        """Return the column as numbers for a classifier, (cases, features); the label is not used.

        A number enters as its value, standardised, or as its rank if it has more than 12 distinct
        values, and in bins; a text as an indicator a level; an unknown cell as an indicator.
        """
        column = ClinicalColumn(self.name, self.cells)
        unknown = np.array([not cell for cell in self.cells])
        parts = [unknown.astype(float)] if unknown.any() and not unknown.all() else []
        levels = np.array(self.cells)
        if column.kind == "number":
            numbers = np.array(column.numbers)
            known = numbers[~unknown]
            if len(column.levels) > MOST_LEVELS:
                ordered = np.sort(known)
                rank = np.searchsorted(ordered, numbers, "left") + np.searchsorted(
                    ordered, numbers, "right"
                )
                numbers = np.where(unknown, np.nan, rank / (2 * len(known)))
                edges = np.arange(1, _BINS) / _BINS
                levels = np.where(unknown, "", np.digitize(numbers, edges).astype(str))
                known = numbers[~unknown]
            scaled = (numbers - known.mean()) / (known.std() or 1.0)
            parts.append(np.where(unknown, 0.0, scaled))
        parts += _indicators(levels)
        return np.stack(parts, axis=1) if parts else np.zeros((len(self.cells), 0))


def _indicators(levels: np.ndarray) -> list[np.ndarray]:
    names, counts = np.unique(levels, return_counts=True)
    ordered = names[np.argsort(-counts, kind="stable")][:_MOST_INDICATORS]
    common = set(names[counts >= _RARE]) - {""}
    kept = [name for name in ordered if name in common]
    indicators = [(levels == name).astype(float) for name in kept]
    rare = ~np.isin(levels, [*kept, ""])
    if rare.any():
        indicators.append(rare.astype(float))
    return [column for column in indicators if 0 < column.sum() < len(levels)]


def audit_columns(study: Study, cohort: Cohort) -> list[AuditColumn]:
    """Return every column that an audit tests, over the cases that networks learn from."""
    cases = learning_cases(cohort)
    clinical = clinical_columns(cases)
    acquired = acquisition_columns(study, cases)
    order = AuditColumn("order of the table", "order", cases, tuple(map(str, range(len(cases)))))
    columns = [*acquired, *clinical, order, *_lesion_columns(study, cases)]
    if cohort.external:
        centres = tuple(case.cohort for case in cohort)
        columns.append(AuditColumn("cohort, all cases", "centre", cohort.cases, centres))
    return columns


def learning_cases(cohort: Cohort) -> tuple[Case, ...]:
    """Return the internal cases; all cases of a cohort that has none."""
    return cohort.internal or cohort.cases


def clinical_columns(cases: Sequence[Case]) -> list[AuditColumn]:
    """Return the further columns of ``cohort.csv``; dates become their order in days."""
    rows = [dict(case.metadata) for case in cases]
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = []
    for name in names:
        cells = [row.get(name, "").strip() for row in rows]
        cells = ["" if cell.casefold() in EMPTY_CELLS else cell for cell in cells]
        columns.append(AuditColumn(name, _kind(name), tuple(cases), tuple(_days(cells))))
    return columns


def centre_columns(cases: Sequence[Case]) -> list[AuditColumn]:
    """Return the clinical columns whose names say that they hold a centre."""
    return [column for column in clinical_columns(cases) if _words(column.name) & _CENTRE_WORDS]


def acquisition_columns(study: Study, cases: Sequence[Case]) -> list[AuditColumn]:
    """Return what the records of the volumes hold of the scans; empty if there are no records."""
    rows = [_acquisition(study, case) for case in cases]
    if not any(rows):
        return []
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [
        AuditColumn(
            name, "acquisition", tuple(cases), tuple(str(row.get(name, "")) for row in rows)
        )
        for name in names
    ]
    return [column for column in columns if any(column.cells)]


def _acquisition(study: Study, case: Case) -> dict[str, str]:
    """Return the acquisition of one case: values of its record in units of their names."""
    try:
        record = read_json(record_of(study.nifti(case.case_id)))
    except StudyError:
        return {}
    scan = record.get("scan") or {}
    found: dict[str, Any] = {
        "kVp": scan.get("kvp"),
        "mAs": scan.get("mas"),
        "kernel": scan.get("kernel"),
        "slice thickness, mm": scan.get("thickness_mm"),
        "manufacturer": scan.get("manufacturer"),
        "scanner model": scan.get("model"),
    }
    with suppress(KeyError, TypeError, ValueError):
        geometry = record["geometry"]
        spacing = [float(edge) for edge in geometry["spacing_mm"]]
        through = int(np.argmax(spacing))  # slices are farther apart than pixels
        found["pixel spacing, mm"] = min(spacing)
        found["slice spacing, mm"] = spacing[through]
        found["scan length, mm"] = spacing[through] * int(geometry["shape"][through])
    found["source format"] = record.get("from")
    return {name: _cell(value) for name, value in found.items()}


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).strip()


def _lesion_columns(study: Study, cases: Sequence[Case]) -> list[AuditColumn]:
    rows = preprocessed(study)
    names = {"lesion volume, ml": "lesion_ml", "longest diameter, mm": "longest_mm"}
    columns = [
        AuditColumn(
            title,
            "lesion",
            tuple(cases),
            tuple(rows.get(case.case_id, {}).get(name, "") for case in cases),
        )
        for title, name in names.items()
    ]
    return [column for column in columns if any(column.cells)]


def preprocessed(study: Study) -> Mapping[str, Mapping[str, str]]:
    """Return the rows of ``preprocess.csv`` by case; empty where there is no such table."""
    if not study.preprocess_csv.is_file():
        return {}
    table = read_table(study.preprocess_csv, ("case_id",))
    return {
        str(row["case_id"]): {str(name): str(cell) for name, cell in row.items()}
        for row in table.to_dict("records")
    }


def _kind(name: str) -> Kind:
    words = _words(name)
    if words & _BIOLOGY_WORDS:
        return "biology"
    return "acquisition" if words & _ACQUISITION_WORDS else "clinical"


def _words(name: str) -> set[str]:
    """Split a name at anything that is no letter, and between lower and upper case."""
    parted = re.sub(r"([a-z])([A-Z][a-z])", r"\1 \2", name)
    return {word.casefold() for word in re.findall(r"[^\W\d_]+", parted)}


def _days(cells: list[str]) -> list[str]:
    """Return dates as numbers of days; cells that are not all dates of one form stay."""
    known = [cell for cell in cells if cell]
    for form in _DATES if known else ():
        try:
            return [str(datetime.strptime(c, form).toordinal()) if c else "" for c in cells]
        except ValueError:
            continue
    return cells
