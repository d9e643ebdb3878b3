"""The table of what became of each case."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from ctbone.errors import CtboneError
from ctbone.preprocess.case import CropSummary
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


def write_summary(study: Study, outcomes: Mapping[str, CropSummary | CtboneError]) -> None:
    """Write ``preprocess.csv``: the outcomes of this run, and the earlier rows of cases that were not run.

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
