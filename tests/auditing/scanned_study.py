"""A study without images: cohort, records of the scans, preprocess.csv and folds."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ctbone.cohort import read_cohort
from ctbone.folds import read_or_draw_folds
from ctbone.study import Study

Rows = list[dict]
Plant = Callable[[Rows, np.random.Generator], None]


def scanned_study(
    root: Path,
    *,
    seed: int = 0,
    patients: int = 90,
    external: int = 40,
    classes: tuple[str, ...] = ("benign", "malignant"),
    plant: Plant | None = None,
    folds: bool = True,
) -> Study:
    """Write a study whose columns know nothing of the class, then ``plant`` one that does.

    A row's key ``scan`` is the record of its volume's acquisition, ``summary`` its row of
    preprocess.csv; every other key is a column of the cohort. One patient in ten has two lesions.
    """
    rng = np.random.default_rng(seed)
    rows = [
        row
        for number in range(patients + external)
        for row in _patient(rng, number, "internal" if number < patients else "", classes)
    ]
    if plant is not None:
        plant(rows, rng)
    root.mkdir(parents=True, exist_ok=True)
    settings = {"name": "scanned", "classes": list(classes)}
    (root / "study.yaml").write_text(yaml.safe_dump(settings))
    (root / "nifti").mkdir()
    hidden = ("scan", "summary", "volume", "geometry", "identity")
    for row in rows:
        record = {
            "from": "dicom",
            "volume": row["volume"],
            "scan": row["scan"],
            "geometry": row["geometry"],
            "identity": row.get("identity"),
        }
        (root / "nifti" / f"{row['case_id']}.json").write_text(json.dumps(record))
    cohort = pd.DataFrame([{k: v for k, v in row.items() if k not in hidden} for row in rows])
    cohort.assign(image="none").to_csv(root / "cohort.csv", index=False)
    summaries = [{"case_id": row["case_id"], "status": "ok", **row["summary"]} for row in rows]
    pd.DataFrame(summaries).to_csv(root / "preprocess.csv", index=False)
    study = Study.open(root)
    if folds:
        read_or_draw_folds(study, read_cohort(study))
    return study


def _patient(rng: np.random.Generator, number: int, cohort: str, classes: tuple[str, ...]) -> Rows:
    label = classes[rng.choice(len(classes), p=_shares(len(classes)))]
    cohort = cohort or f"centre{rng.integers(2, 4)}"
    spacing = float(rng.normal(0.75, 0.1))
    thickness = float(rng.choice([1.0, 2.0, 3.0, 5.0], p=[0.3, 0.3, 0.3, 0.1]))
    scan = {
        "kvp": float(rng.choice([100, 120, 140], p=[0.2, 0.6, 0.2])),
        "mas": float(rng.integers(100, 260)),
        "kernel": str(rng.choice(["B30f", "B70s", "FC30", ""])),
        "thickness_mm": thickness,
        "manufacturer": str(rng.choice(["Siemens", "GE", "Philips"])),
        "model": str(rng.choice(["A 64", "B 16", "C 128", "D 80"])),
    }
    common = {
        "patient_id": f"P{number:04d}",
        "label": label,
        "cohort": cohort,
        "age": "" if rng.random() < 0.05 else f"{rng.normal(45, 17):.0f}",
        "sex": str(rng.choice(["F", "M"])),
        "hospital": str(rng.choice(["north", "south", "west"])),
        "scan_date": str(np.datetime64("2015-01-01") + int(rng.integers(0, 2500))),
        "pain": str(rng.choice(["yes", "no", ""], p=[0.5, 0.4, 0.1])),
        "volume": rng.bytes(8).hex(),
        "scan": scan,
        "geometry": {
            "spacing_mm": [spacing, spacing, thickness],
            "shape": [512, 512, int(rng.integers(60, 300))],
        },
    }
    return [
        {
            "case_id": f"C{number:04d}{'ab'[lesion]}",
            **common,
            "summary": {
                "lesion_ml": float(rng.lognormal(3, 1)),
                "longest_mm": float(rng.lognormal(3.5, 0.4)),
                "mean_hu": float(rng.normal(80, 40)),
                "voxel_hash": rng.bytes(8).hex(),
            },
        }
        for lesion in range(1 + (rng.random() < 0.1))
    ]


def _shares(count: int) -> np.ndarray:
    """More cases of each further class."""
    weights = np.arange(2, count + 2)
    return weights / weights.sum()
