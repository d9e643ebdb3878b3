"""What preprocessing found in each case, and ``preprocess.csv``, the table of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pandas as pd

from ctbone.errors import CtboneError
from ctbone.study import Study, read_json, read_table, record_of, write_table

COLUMNS = (
    "case_id",
    "status",
    "reason",
    "seconds",
    "lesion_ml",
    "longest_mm",
    "mean_hu",
    "scale_factor",
    "voxel_hash",
)
_LISTED = 8
"""Cases that a remark lists."""


@dataclass(frozen=True)
class CropSummary:
    """What preprocessing found in one case.

    Attributes
    ----------
    lesion_ml, longest_mm, mean_hu
        The lesion's volume, its longest diameter in any direction, its mean HU.
    spacing
        Of the scanner's voxels, in mm.
    scale_factor
        1 where the 3D crop has the requested spacing; less where a large lesion was shrunk to fit.
    voxel_hash
        SHA-256 of the 3D crop's voxels: equal hashes in two patients are an error of the cohort.
    seconds
        Taken by this case, when its crops were made.
    """

    case_id: str
    lesion_ml: float
    longest_mm: float
    mean_hu: float
    spacing: tuple[float, float, float]
    scale_factor: float
    voxel_hash: str
    seconds: float


def write_summary(study: Study, outcomes: Mapping[str, CropSummary | CtboneError]) -> None:
    """Write ``preprocess.csv``: this run's outcomes, and earlier rows of cases that were not run.

    Parameters
    ----------
    study
        The study.
    outcomes
        For each case_id its summary, or the error that stopped it.
    """
    rows: dict[str, dict[str, object]] = {}
    if study.preprocess_csv.is_file():
        earlier = read_table(study.preprocess_csv, COLUMNS, remedy="delete it")
        rows = {
            str(row["case_id"]): {str(k): v for k, v in row.items()}
            for row in earlier.to_dict("records")
        }
    rows.update({case_id: _row(case_id, outcome) for case_id, outcome in outcomes.items()})
    table = pd.DataFrame([rows[case_id] for case_id in sorted(rows)], columns=list(COLUMNS))
    write_table(study.preprocess_csv, table)


def doubts(study: Study, case_ids: Iterable[str]) -> list[str]:
    """Return what the records say of images that may not be HU and masks that may not belong.

    Returns
    -------
    list of str
        One line for each remark, with the cases that it is made on.
    """
    found: dict[str, list[str]] = {}
    for case_id in case_ids:
        volume = read_json(record_of(study.nifti(case_id)))
        crop = read_json(record_of(study.crop(case_id, "3d")))
        of_image = volume.get("note") if volume.get("from") == "nifti" else None
        for remark in filter(None, (of_image, crop["case"].get("reference_note"))):
            found.setdefault(remark, []).append(case_id)
    return [f"{_cases(cases)}: {remark}" for remark, cases in found.items()]


def _cases(case_ids: list[str]) -> str:
    if len(case_ids) == 1:
        return f"case {case_ids[0]}"
    more = len(case_ids) - _LISTED
    return f"cases {', '.join(case_ids[:_LISTED])}" + (f" and {more} more" if more > 0 else "")


def _row(case_id: str, outcome: CropSummary | CtboneError) -> dict[str, object]:
    if isinstance(outcome, CtboneError):
        parts = [
            outcome.problem,
            f"found: {outcome.found}" if outcome.found else "",
            outcome.remedy or "",
        ]
        return {
            "case_id": case_id,
            "status": "failed",
            "reason": " | ".join(part for part in parts if part),
        }
    return {
        "case_id": case_id,
        "status": "ok",
        "reason": "",
        "seconds": round(outcome.seconds, 3),
        "lesion_ml": outcome.lesion_ml,
        "longest_mm": outcome.longest_mm,
        "mean_hu": outcome.mean_hu,
        "scale_factor": outcome.scale_factor,
        "voxel_hash": outcome.voxel_hash,
    }
