"""Cohort table of a folder in the layout of BTXRD, the Bone Tumor X-ray Radiograph Dataset.

The layout: ``dataset.csv`` with a row a radiograph and 37 columns, ``images/`` and, for tumours
alone, LabelMe files in ``Annotations/``. It has no column of patients, and the views of one
patient stand in neighbouring rows.

References
----------
.. [1] Yao S et al. A radiograph dataset for the classification, localization, and segmentation of
   primary bone tumors. Scientific Data 2025;12:88.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from ctbone.errors import CohortError
from ctbone.study import read_table

SITES = (
    "hand",
    "ulna",
    "radius",
    "humerus",
    "foot",
    "tibia",
    "fibula",
    "femur",
    "hip bone",
    "ankle-joint",
    "knee-joint",
    "hip-joint",
    "wrist-joint",
    "elbow-joint",
    "shoulder-joint",
)
CLASSES = ("tumor", "benign", "malignant")
SUBTYPES = (
    "osteochondroma",
    "multiple osteochondromas",
    "simple bone cyst",
    "giant cell tumor",
    "osteofibroma",
    "synovial osteochondroma",
    "other bt",
    "osteosarcoma",
    "other mt",
)
REGIONS = ("upper limb", "lower limb", "pelvis")
VIEWS = ("frontal", "lateral", "oblique")
COLUMNS = ("image_id", "center", "age", "gender", *SITES, *CLASSES, *SUBTYPES, *REGIONS, *VIEWS)
"""The 37 columns."""
HEURISTIC = "neighbouring rows of the same centre, age, sex, site and subtype"
"""The stated grouping where no column gives one."""


@dataclass(frozen=True)
class BtxrdCohort:
    """A cohort table in ctbone's columns.

    Attributes
    ----------
    table
        One row a radiograph, as ``cohort.csv`` holds it.
    grouped_by
        How the rows were grouped, for the settings key ``grouping``.
    whole
        Radiographs without an annotation, by class.
    """

    table: pd.DataFrame
    grouped_by: str
    whole: Mapping[str, int]

    def __str__(self) -> str:
        groups = self.table["patient_id"].nunique()
        whole = ", ".join(f"{count} {name}" for name, count in self.whole.items())
        return (
            f"{len(self.table)} radiographs; patients unknown, {groups} groups by "
            f"{self.grouped_by}\nnote: without a region, so taken whole: {whole or 'none'}. Where "
            "this is one class alone, the crop itself tells the class: compare with region: image"
        )


def read_btxrd(folder: Path, *, group: str | None = None) -> BtxrdCohort:
    """Read a folder in the layout of BTXRD.

    Labels are malignant, benign, or normal where ``tumor`` is 0. The 11 numbers of the metadata
    are age, sex (``female``, 0 or 1), and one of three levels each of ``centre``, ``region`` and
    ``view``; they are not a function of the diagnosis.

    Parameters
    ----------
    folder
        The folder; paths of the table are absolute.
    group
        Column of the patients, if the table has one; None groups neighbouring rows of the same
        centre, age, sex, site and subtype. This may join two patients and may part the rows of
        one, so results are not "by patient".

    Returns
    -------
    BtxrdCohort

    Raises
    ------
    CohortError, StudyError
        The table lacks a column, a row has no label or two, or an image is missing.
    """
    file = folder / "dataset.csv"
    table = read_table(file, (*COLUMNS, *([group] if group else [])))
    _refuse_wrong_flags(table, file)
    images = {path.stem: path for path in sorted((folder / "images").glob("*")) if path.is_file()}
    annotations = {path.stem: path for path in sorted((folder / "Annotations").glob("*.json"))}
    rows = []
    groups = table[group] if group else _heuristic_groups(table)
    for (_, row), patient in zip(table.iterrows(), groups, strict=True):
        stem = Path(row["image_id"]).stem
        if stem not in images:
            raise CohortError(
                "the image of a row does not exist",
                case=stem,
                file=folder / "images" / row["image_id"],
                remedy="complete the folder, or remove the row",
            )
        annotation = annotations.get(stem)
        rows.append(
            {
                "case_id": stem,
                "patient_id": str(patient),
                "label": _label(row),
                "cohort": "internal",
                "image": str(images[stem].resolve()),
                "mask": "" if annotation is None else str(annotation.resolve()),
                "age": row["age"],
                "female": str(int(row["gender"].upper().startswith("F"))),
                "centre": f"centre{row['center']}",
                "region": _named(row, REGIONS),
                "view": _named(row, VIEWS),
                "site": _named(row, SITES),
                "subtype": _named(row, SUBTYPES),
            }
        )
    made = pd.DataFrame(rows)
    whole = made.loc[made["mask"] == "", "label"].value_counts().to_dict()
    return BtxrdCohort(made, f"column '{group}'" if group else HEURISTIC, whole)


def _heuristic_groups(table: pd.DataFrame) -> list[str]:
    """Name the runs of neighbouring rows that agree; a view that repeats begins a new run."""
    keys = table[["center", "age", "gender", *SITES, *SUBTYPES]].agg("|".join, axis=1).tolist()
    views = table[list(VIEWS)].agg("|".join, axis=1).tolist()
    groups: list[str] = []
    seen: set[str] = set()
    for number, (key, view) in enumerate(zip(keys, views, strict=True)):
        if number == 0 or key != keys[number - 1] or view in seen:
            seen = set()
            groups.append(f"G{number + 1:04d}")
        else:
            groups.append(groups[-1])
        seen.add(view)
    return groups


def _refuse_wrong_flags(table: pd.DataFrame, file: Path) -> None:
    flags = table[[*SITES, *CLASSES, *SUBTYPES, *REGIONS, *VIEWS]]
    wrong = ~flags.isin(["0", "1"])
    if wrong.any(axis=None):
        place = int(wrong.any(axis=1).to_numpy().argmax())
        column = str(flags.columns[int(wrong.iloc[place].to_numpy().argmax())])
        raise CohortError(
            f"a cell of '{column}' is not 0 or 1",
            case=str(table["image_id"].iloc[place]),
            file=file,
            found=repr(flags[column].iloc[place]),
        )
    numbers = table[list(CLASSES)].astype(int)
    doubled = (numbers["benign"] + numbers["malignant"]) != numbers["tumor"]
    if doubled.any():
        place = int(doubled.to_numpy().argmax())
        raise CohortError(
            "benign and malignant do not add up to tumor",
            case=str(table["image_id"].iloc[place]),
            file=file,
            found=", ".join(f"{name} {numbers[name].iloc[place]}" for name in CLASSES),
        )


def _label(row: Mapping[str, str]) -> str:
    if row["malignant"] == "1":
        return "malignant"
    return "benign" if row["benign"] == "1" else "normal"


def _named(row: Mapping[str, str], columns: Sequence[str]) -> str:
    """Return the flags that are set, joined; empty where none is."""
    return " and ".join(name for name in columns if row[name] == "1")
