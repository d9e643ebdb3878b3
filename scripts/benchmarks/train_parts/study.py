"""Synthetic studies to train on: crops as preprocessing writes them."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import yaml
from scipy.ndimage import gaussian_filter

from ctbone.config_file import load_settings
from ctbone.study import Study


def write_study(
    root: Path,
    *,
    cases: int,
    size: int,
    training: dict | None = None,
    network: dict | None = None,
    contrast: float = 300,
    seed: int = 0,
) -> Study:
    """Write a two-class study of noisy balls; the classes differ by ``contrast`` HU."""
    settings = {
        "name": "bench",
        "preprocess": {"crop_3d": {"size": size}},
        "models": {"3d": {"dim": "3d", **(network or {}), "training": training or {}}},
        "fusion": {"combinations": {}},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "study.yaml").write_text(yaml.safe_dump(settings))
    record = {"preprocess": load_settings(root / "study.yaml").preprocess.model_dump(mode="json")}
    folder = root / "crops" / "3d"
    folder.mkdir(parents=True)
    random = np.random.default_rng(seed)
    texture = [gaussian_filter(random.normal(0, 1, (size,) * 3), 2) for _ in range(4)]
    rows = []
    for number in range(cases):
        volume = _ball(random, size, 100 + contrast * (number % 2), texture[number % 4])
        nibabel.Nifti1Image(volume, np.eye(4)).to_filename(folder / f"C{number:04d}.nii")
        (folder / f"C{number:04d}.json").write_text(json.dumps({"settings": record}))
        label = ("benign", "malignant")[number % 2]
        rows.append(
            {
                "case_id": f"C{number:04d}",
                "patient_id": f"P{number:04d}",
                "label": label,
                "image": "none",
            }
        )
    pd.DataFrame(rows).to_csv(root / "cohort.csv", index=False)
    return Study.open(root)


def _ball(random: np.random.Generator, size: int, hu: float, texture: np.ndarray) -> np.ndarray:
    axes = np.ogrid[tuple(slice(0, size) for _ in range(3))]
    middle = (size - 1) / 2 + random.uniform(-0.1, 0.1, 3) * size
    distance = np.sqrt(sum((axis - at) ** 2 for axis, at in zip(axes, middle, strict=True)))
    radius = size * random.uniform(0.2, 0.35)
    noise = random.normal(0, 60) + 2000 * np.roll(texture, random.integers(0, size, 3), (0, 1, 2))
    return (np.where(distance < radius, hu, 0) + noise).clip(-1024, 3000).astype(np.int16)
