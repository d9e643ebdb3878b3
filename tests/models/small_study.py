"""Small studies of spheres, with crops as preprocessing writes them, for tests that train."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import yaml

from ctbone.config_file import load_settings
from ctbone.study import Study

VIEWS = [
    ("axial", ["left_right", "anterior_posterior"]),
    ("coronal", ["left_right", "superior_inferior"]),
    ("sagittal", ["anterior_posterior", "superior_inferior"]),
]
TINY = {"block_config": [1, 1], "growth_rate": 4, "init_features": 8, "bn_size": 2}


def model_of(dim: str, **changes) -> dict:
    """Settings of a tiny network; ``training`` is laid over the tiny training."""
    training = {"epochs": 2, "batch_size": 8, "learning_rate": 0.01, **changes.pop("training", {})}
    return {
        "dim": dim,
        "network": "densenet",
        "network_options": TINY,
        "training": training,
        **changes,
    }


def small_study(
    root: Path,
    *,
    models: dict[str, dict],
    classes: tuple[str, ...] = ("benign", "malignant"),
    patients: int = 20,
    external: int = 4,
    size: int = 8,
    folds: int = 2,
    contrast: float = 600,
    noise: float = 40,
    seed: int = 0,
) -> Study:
    """Write a study of balls in noise, ``contrast`` HU more for each further class."""
    random = np.random.default_rng(seed)
    rows = []
    write_settings(root, models=models, classes=classes, size=size, folds=folds)
    made_with = {
        "preprocess": load_settings(root / "study.yaml").preprocess.model_dump(mode="json")
    }
    for number in range(patients + external):
        truth = number % len(classes)
        case = f"C{number:03d}"
        _write_case(
            root,
            case,
            made_with,
            _ball(random, size, 100 + contrast * truth, noise),
            area=float(random.uniform(50, 500)),
        )
        cohort = "internal" if number < patients else "centre2"
        rows.append(
            {
                "case_id": case,
                "patient_id": f"P{number:03d}",
                "label": classes[truth],
                "cohort": cohort,
            }
        )
    pd.DataFrame(rows).assign(image="none").to_csv(root / "cohort.csv", index=False)
    return Study.open(root)


def write_settings(
    root: Path, *, models: dict, classes=("benign", "malignant"), size: int = 8, folds: int = 2
) -> None:
    settings = {
        "name": "small",
        "classes": list(classes),
        "folds": {"count": folds, "validation_share": 0.25},
        "preprocess": {"crop_3d": {"size": max(size, 8)}, "images_2d": {"size": max(size, 16)}},
        "models": models,
        "fusion": {"combinations": {}},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "study.yaml").write_text(yaml.safe_dump(settings))


def _ball(random: np.random.Generator, size: int, hu: float, noise: float) -> np.ndarray:
    middle = (size - 1) / 2 + random.uniform(-1, 1, 3)
    distance = np.sqrt(((np.indices((size,) * 3) - middle[:, None, None, None]) ** 2).sum(axis=0))
    volume = np.where(distance < size * random.uniform(0.2, 0.35), hu, 0) + random.normal(
        0, noise, (size,) * 3
    )
    return np.clip(volume, -1024, 3000).astype(np.int16)


def _write_case(root: Path, case: str, made_with: dict, volume: np.ndarray, area: float) -> None:
    for folder in ("3d", "2d"):
        (root / "crops" / folder).mkdir(parents=True, exist_ok=True)
    nibabel.Nifti1Image(volume, np.eye(4)).to_filename(root / "crops" / "3d" / f"{case}.nii")
    size = volume.shape[0]
    times = max(1, 16 // size)
    planes = [volume[:, :, size // 2], volume[:, size // 2], volume[size // 2]]
    images = np.stack(
        [np.kron(plane, np.ones((times, times), np.int16)) for plane in planes], axis=-1
    )
    nibabel.Nifti1Image(images, np.eye(4)).to_filename(root / "crops" / "2d" / f"{case}.nii")
    views = [
        {"name": name, "axes": axes, "area_mm2": area * (k + 1)}
        for k, (name, axes) in enumerate(VIEWS)
    ]
    (root / "crops" / "3d" / f"{case}.json").write_text(json.dumps({"settings": made_with}))
    (root / "crops" / "2d" / f"{case}.json").write_text(
        json.dumps({"settings": made_with, "views": views})
    )
