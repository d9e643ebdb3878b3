"""What preprocessing found in each case, and ``preprocess.csv``, the table of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from ctbone.errors import CtboneError
from ctbone.study import Study, read_table, write_table

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
