"""A small trained study from volumes and masks on, for tests of new patients."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import yaml

import ctbone as ct
from ctbone.study import Study
from tests.dicom.writer import Plan, write_series
from tests.models.small_study import model_of

SHAPE, SPACING = (40, 36, 24), (1.0, 1.0, 2.0)
PLANTED = "Mustermann"
"""A name that stands in every column and path of the study, and must not leave it."""


def volume_of(seed: int, *, hu: float, radius: float = 7.0) -> tuple[np.ndarray, np.ndarray]:
    """Return a ball in noise, int16 HU, and its mask."""
    random = np.random.default_rng(seed)
    middle = np.array(SHAPE) / 2 * SPACING + random.uniform(-2, 2, 3)
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    mask = np.linalg.norm(index * SPACING - middle, axis=-1) <= radius + random.uniform(-1, 1)
    values = np.where(mask, hu, 0) + random.normal(0, 40, SHAPE)
    return values.astype(np.int16), mask.astype(np.uint8)


def write_mask(path: Path, mask: np.ndarray, *, affine: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    matrix = np.diag([*SPACING, 1.0]) if affine is None else affine
    nibabel.save(nibabel.Nifti1Image(mask, matrix), path)
    return path


def write_dicom(folder: Path, values: np.ndarray, **changes) -> Plan:
    """Write a volume as a DICOM series; its mask lies on the plan's affine."""
    stored = (values.transpose(2, 1, 0).astype(np.int32) + 1024).clip(0).astype(np.uint16)
    plan = Plan(stored=stored, pixel=SPACING[:2], gap=SPACING[2], patient=PLANTED, **changes)
    write_series(folder, plan)
    return plan


def clinic_study(
    root: Path, *, models: dict | None = None, patients: int = 24, folds: int = 2, **settings
) -> Study:
    """Write images, masks and tables, and preprocess them; nothing is trained yet."""
    models = models or {
        "3d": model_of("3d", training={"epochs": 1}),
        "2d": model_of(
            "2d",
            view_weights="area",
            windows=[{"center": 40, "width": 400}],
            training={"epochs": 1},
        ),
    }
    content = {
        "name": "clinic",
        "folds": {"count": folds, "validation_share": 0.3},
        "preprocess": {
            "crop_3d": {"size": 16, "spacing": 2.0, "margin": 2},
            "images_2d": {"size": 32},
        },
        "models": models,
        "fusion": {
            "combinations": {"both": ["3d", "2d"], "with": ["3d", "reader"]},
            "recalibration": {"platt": {"of": "both"}, "steps": {"of": "3d", "method": "isotonic"}},
        },
        **settings,
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "study.yaml").write_text(yaml.safe_dump(content))
    rows = []
    for number in range(patients + 2):
        values, mask = volume_of(number, hu=150 + 250 * (number % 2))
        case = f"{PLANTED}{number:02d}"
        path = root / "images" / f"{case}.nii.gz"
        path.parent.mkdir(exist_ok=True)
        nibabel.save(nibabel.Nifti1Image(values, np.diag([*SPACING, 1.0])), path)
        write_mask(root / "masks" / f"{case}.nii.gz", mask)
        rows.append(
            {
                "case_id": case,
                "patient_id": f"{PLANTED}-patient-{number}",
                "label": ("benign", "malignant")[number % 2],
                "cohort": "internal" if number < patients else f"{PLANTED}-centre",
                "image": f"images/{case}.nii.gz",
                "mask": f"masks/{case}.nii.gz",
                "age": 30 + number,
                "site": f"{PLANTED} {number}" if number == 3 else ("S1", "S2")[number // 2 % 2],
                "remark": f"{PLANTED} {number}",
            }
        )
    pd.DataFrame(rows).to_csv(root / "cohort.csv", index=False)
    study = Study.open(root)
    for problem in ct.preprocess(study).problems:
        raise problem
    return study
