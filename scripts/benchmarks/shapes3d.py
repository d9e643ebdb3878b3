"""Train on AdrenalMNIST3D: its volumes as a study, its own split as the only fold, DenseNet121."""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from importlib import metadata
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import yaml
from timing import machine

from ctbone.cohort import read_cohort
from ctbone.config_file import load_settings
from ctbone.folds import draw_folds
from ctbone.predictions import case_probabilities, read_predictions
from ctbone.stats import auc_interval
from ctbone.study import Study, file_hash, record_of, write_json, write_table
from ctbone.training import train

CLASSES = ("normal", "abnormal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    data = (
        Path(os.environ.get("CTBONE_REAL_DATA", "../shared/data"))
        / "shapes3d"
        / "adrenal_train_val_64.npz"
    )
    parser.add_argument("--data", type=Path, default=data)
    parser.add_argument("--epochs", type=int, default=50)
    parser.add_argument("--size", type=int, default=32, choices=(32, 64))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--network", default="densenet121")
    parser.add_argument("--options", default="{}", help="network_options, in JSON")
    parser.add_argument("--training", default="{}", help="more training settings, in JSON")
    parser.add_argument(
        "--study", type=Path, help="keep the study here; a run that was stopped goes on"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(options.study or Path(folder), options)
        began = time.perf_counter()
        summary = train(study, "3d", fold=0)
        seconds = time.perf_counter() - began
        report(study, summary.folds[0].epoch, seconds, options)


def make_study(root: Path, options: argparse.Namespace) -> Study:
    """Write the volumes as crops of a study, and the data set's split as the roles of fold 0."""
    parts = np.load(options.data)
    volumes = np.concatenate([parts["train_images"], parts["val_images"]])
    labels = np.concatenate([parts["train_labels"], parts["val_labels"]]).ravel()
    roles = np.repeat(["train", "val"], [len(parts["train_images"]), len(parts["val_images"])])
    settings = {
        "name": "shapes3d",
        "classes": list(CLASSES),
        "preprocess": {"crop_3d": {"size": options.size}},
        "folds": {"count": 2},
        "fusion": {"combinations": {}},
        "models": {
            "3d": {
                "dim": "3d",
                "network": options.network,
                "network_options": json.loads(options.options),
                "training": {
                    "epochs": options.epochs,
                    "seed": options.seed,
                    **json.loads(options.training),
                },
            }
        },
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "study.yaml").write_text(yaml.safe_dump(settings))
    study = Study.open(root)
    if study.folds_csv.exists():
        return study
    made_with = {
        "settings": {
            "preprocess": load_settings(study.settings_file).preprocess.model_dump(mode="json")
        }
    }
    rows = []
    study.crop("x", "3d").parent.mkdir(parents=True)
    for number, (volume, label) in enumerate(zip(volumes, labels, strict=True)):
        case = f"A{number:04d}"
        crop = study.crop(case, "3d")
        nibabel.Nifti1Image(as_hu(volume, options.size), np.eye(4)).to_filename(crop)
        write_json(record_of(crop), made_with)
        # Shapes may be equal between people: no two of the set are one patient's.
        rows.append({"case_id": case, "patient_id": case, "label": CLASSES[label], "image": "none"})
    write_table(study.cohort_csv, pd.DataFrame(rows))
    write_folds(study, roles)
    return study


def as_hu(volume: np.ndarray, size: int) -> np.ndarray:
    """Map a binary shape to the HU that the window maps to 0 and 1; halving averages 8 voxels."""
    share = volume.astype(np.float32) / 255
    times = len(volume) // size
    share = share.reshape(size, times, size, times, size, times).mean(axis=(1, 3, 5))
    return (2000 * share - 1000).astype(np.int16)


def write_folds(study: Study, roles: np.ndarray) -> None:
    cohort = read_cohort(study)
    table = draw_folds(cohort.internal, study.settings)
    by_case = dict(zip([case.case_id for case in cohort.internal], roles, strict=True))
    table["role_0"] = table["case_id"].map(by_case)
    write_table(study.folds_csv, table)
    record = {
        "stage": "folds",
        "sha256": file_hash(study.folds_csv),
        "cohort": cohort.identity(),
        "settings": study.settings.folds.model_dump(mode="json"),
    }
    write_json(record_of(study.folds_csv), record)


def report(study: Study, kept: int, seconds: float, options: argparse.Namespace) -> None:
    table = case_probabilities(
        read_predictions(study.predictions_csv("3d"), CLASSES), "val", CLASSES
    )
    truth = (table["label"] == CLASSES[1]).to_numpy()
    p = table[f"p_{CLASSES[1]}"].to_numpy()
    found = auc_interval(truth, p)
    history = pd.read_csv(study.run_folder("3d", 0) / "metrics.csv")
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("ctbone", "torch", "monai")
    )
    print(f"{machine()}; {versions}")
    print(
        f"{options.network} at {options.size}³, seed {options.seed}, "
        f"{len(history)} epochs in {seconds:.0f} s\n"
    )
    print(f"| epoch | validation AUC (n = {len(truth)}) | accuracy at 0.5 |\n|---|---|---|")
    accuracy = np.mean((p >= 0.5) == truth)
    interval = f"{found.low:.3f}–{found.high:.3f}"
    print(f"| {kept}, the best on this part | {found.value:.3f} ({interval}) | {accuracy:.3f} |")
    last = history.iloc[-1]
    print(f"| {int(last['epoch'])}, the last | {last['score']:.3f} | |")
    print(f"\nthe commoner class alone: accuracy {max(truth.mean(), 1 - truth.mean()):.3f}")


if __name__ == "__main__":
    main()
