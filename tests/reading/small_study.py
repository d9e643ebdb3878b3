"""A study with small volumes, masks and probabilities, and a server of its own process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from ctbone.cohort import read_cohort
from ctbone.folds import read_or_draw_folds
from ctbone.grid import Grid
from ctbone.nifti import write_nifti
from ctbone.predictions import write_predictions
from ctbone.study import Study, record_of, write_json

ROOT = Path(__file__).parents[2]
SHAPE = (48, 40, 12)
AFFINE = np.array([[-0.7, 0, 0, 20], [0, 0.7, 0, -10], [0, 0, 5, 100], [0, 0, 0, 1.0]])


def make_study(
    root: Path, cases: int = 12, external: int = 2, shape=SHAPE, **reading: object
) -> Study:
    """Write cases named after their class, as no browser may learn."""
    root.mkdir(parents=True, exist_ok=True)
    settings = {
        "name": "pilot",
        "folds": {"count": 2, "validation_share": 0.3},
        "models": {"3d": {"dim": "3d"}},
        "fusion": {"combinations": {"3d+reader": ["3d", "reader"]}},
        "preprocess": {"crop_3d": {"size": 16, "spacing": 1.0}},
        "reading": reading,
    }
    (root / "study.yaml").write_text(yaml.safe_dump(settings))
    rng = np.random.default_rng(4)
    rows = []
    for number in range(cases + external):
        label = ("benign", "malignant")[number % 2]
        name = f"{label}_{number:02d}"
        cohort = "internal" if number < cases else "centre2"
        rows.append((name, f"P{number:02d}", label, cohort, 30 + number, "FM"[number % 3 == 0]))
        write_volume(root, name, rng, number, shape)
    columns = ["case_id", "patient_id", "label", "cohort", "age", "sex"]
    cohort = pd.DataFrame(rows, columns=columns)
    cohort["image"] = [f"nifti/{name}.nii.gz" for name in cohort["case_id"]]
    cohort["mask"] = ""
    cohort.to_csv(root / "cohort.csv", index=False)
    study = Study.open(root)
    write_probabilities(study, cohort)
    return study


def write_volume(root, name, rng, number, shape=SHAPE):
    hu = rng.integers(-100, 300, shape).astype(np.int16)
    hu[10:14, 20:24, 4:8] = 900 + number
    write_nifti(root / "nifti" / f"{name}.nii.gz", hu, AFFINE)
    crop = Grid((16, 16, 16), np.eye(4))
    crop.affine[:3, 3] = AFFINE[:3, :3] @ [12, 22, 6] + AFFINE[:3, 3] - 8
    mask = np.zeros(crop.shape, np.uint8)
    mask[5:11, 5:11, 3:13] = 1
    path = root / "crops" / "3d_mask" / f"{name}.nii"
    write_nifti(path, mask, crop.affine)
    record = {"affine": crop.affine.tolist()}
    record["scanner"] = {"shape": list(shape), "affine": AFFINE.tolist()}
    write_json(record_of(root / "crops" / "3d" / f"{name}.nii"), record)


def write_probabilities(study, cohort):
    """The probabilities of a model in two folds, out of fold and on the validation cases."""
    rng = np.random.default_rng(7)
    folds = read_or_draw_folds(study, read_cohort(study)).table.set_index("case_id")
    rows = []
    for case in cohort.itertuples():
        for fold in range(2):
            split = "external"
            if case.cohort == "internal":
                split = folds.loc[case.case_id, f"role_{fold}"]
            if split == "train":
                continue
            p = 0.35 + 0.3 * (case.label == "malignant") + float(rng.uniform(-0.3, 0.3))
            row = {"case_id": case.case_id, "patient_id": case.patient_id, "model": "3d"}
            row |= {"cohort": case.cohort, "fold": fold, "split": split, "view": ""}
            rows.append(row | {"label": case.label, "p_benign": 1 - p, "p_malignant": p})
    path = study.predictions_csv("3d")
    path.parent.mkdir(exist_ok=True)
    write_predictions(path, pd.DataFrame(rows), ("benign", "malignant"), {"stage": "test"})


class LiveServer:
    """``ctbone read`` in a process; ``kill`` ends it as a power cut would."""

    def __init__(self, study: Study, port: int = 0, options=()) -> None:
        self.study = study
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "ctbone", "read", "--study", str(study.root)]
        self.process = subprocess.Popen(
            [*command, "--port", str(port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        lines = [self.process.stdout.readline() for _ in range(2)]
        found = re.search(r"https?://127.0.0.1:(\d+)/", lines[0])
        assert found, "".join(lines) + self.process.stdout.read()
        self.port = int(found[1])
        self.address = found[0]
        self.owner = lines[1].split(": ", 1)[1].strip()

    def __enter__(self) -> LiveServer:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()

    def kill(self) -> None:
        if self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()
