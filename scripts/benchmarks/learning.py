"""Out-of-fold AUC against a planted difference, and under shuffled labels."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import nibabel
import numpy as np
import pandas as pd
import yaml
from scipy import ndimage, stats
from timing import machine

from ctbone.config_file import load_settings
from ctbone.predictions import case_probabilities, read_predictions
from ctbone.stats import auc, auc_interval
from ctbone.study import Study, record_of, write_json
from ctbone.training import protocol, train

CLASSES = ("benign", "malignant")
LEVELS = (0.0, 1.0, 2.0, 4.0)
NETWORK = {"block_config": [2, 2], "growth_rate": 4, "init_features": 8}


@dataclass(frozen=True)
class Job:
    """One study to train.

    ``difference`` is the distance of the classes in standard deviations; ``size`` is in voxels.
    """

    difference: float
    shuffled: bool
    seed: int
    patients: int
    size: int
    epochs: int


@dataclass(frozen=True)
class Answer:
    """Out-of-fold AUC of a study: pooled with DeLong's interval, and the mean over the folds."""

    job: Job
    pooled: float
    low: float
    high: float
    mean_of_folds: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="shuffled studies")
    parser.add_argument("--repeats", type=int, default=5, help="studies a level")
    parser.add_argument("--patients", type=int, default=80)
    parser.add_argument("--size", type=int, default=16)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    shape = (options.patients, options.size, options.epochs)
    jobs = [Job(level, False, seed, *shape) for level in LEVELS for seed in range(options.repeats)]
    jobs += [Job(LEVELS[-1], True, 1000 + seed, *shape) for seed in range(options.seeds)]
    began = time.perf_counter()
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        answers = list(pool.map(answer, jobs))
    versions = ", ".join(
        f"{name} {metadata.version(name)}" for name in ("ctbone", "torch", "monai")
    )
    print(f"{machine()}; {versions}; {len(jobs)} studies in {time.perf_counter() - began:.0f} s")
    print(
        f"{options.patients} patients, {options.size}³, 2 folds, {options.epochs} epochs, "
        f"{json.dumps(NETWORK)}\n"
    )
    rises = print_levels([a for a in answers if not a.job.shuffled])
    honest = print_shuffled([a for a in answers if a.job.shuffled])
    sys.exit(0 if rises and honest else 1)


def print_levels(answers: list[Answer]) -> bool:
    """Print the AUC at each level; return whether it rises from chance to above 0.9."""
    print("| planted difference | out-of-fold AUC, mean of the folds' | studies |\n|---|---|---|")
    means = []
    for level in LEVELS:
        found = [a.mean_of_folds for a in answers if a.job.difference == level]
        means.append(float(np.mean(found)))
        print(f"| {level:g} | {means[-1]:.3f} ({min(found):.3f}–{max(found):.3f}) | {len(found)} |")
    return means == sorted(means) and abs(means[0] - 0.5) < 0.1 and means[-1] > 0.9


def print_shuffled(answers: list[Answer]) -> bool:
    """Print the AUC under shuffled labels; return whether the interval of its mean contains 0.5."""
    print(
        f"\n| shuffled labels, {len(answers)} seeds | mean AUC | t interval | 0.5 in it |\n"
        "|---|---|---|---|"
    )
    holds = False
    for name, found in (
        ("mean of the folds'", [a.mean_of_folds for a in answers]),
        ("pooled over the folds", [a.pooled for a in answers]),
    ):
        half = stats.t.ppf(0.975, len(found) - 1) * stats.sem(found)
        inside = abs(np.mean(found) - 0.5) <= half
        holds |= bool(inside) and name.startswith("mean")
        interval = f"{np.mean(found) - half:.3f}–{np.mean(found) + half:.3f}"
        print(f"| {name} | {np.mean(found):.3f} | {interval} | {'yes' if inside else 'no'} |")
    inside = sum(a.low <= 0.5 <= a.high for a in answers)
    print(f"\nof the {len(answers)} single 95 % intervals (DeLong, pooled) {inside} contain 0.5")
    return holds


def answer(job: Job) -> Answer:
    """Make a study, train both folds as ``ctbone train`` does, and return the out-of-fold AUC."""
    import torch

    torch.set_num_threads(1)
    # The figures are not needed, and take as long as the training.
    protocol.draw_curves = lambda *_, **__: None
    with tempfile.TemporaryDirectory() as folder:
        study = make_study(Path(folder), job)
        table = read_predictions(train(study, "3d").predictions, CLASSES)
    own = case_probabilities(table, "test", CLASSES)
    truth, p = own["label"] == CLASSES[1], own[f"p_{CLASSES[1]}"]
    pooled = auc_interval(truth, p)
    folds = [part for _, part in table[table["split"] == "test"].groupby("fold")]
    each = [auc(part["label"] == CLASSES[1], part[f"p_{CLASSES[1]}"]) for part in folds]
    return Answer(
        job=job,
        pooled=pooled.value,
        low=pooled.low,
        high=pooled.high,
        mean_of_folds=float(np.mean(each)),
    )


def make_study(root: Path, job: Job, **further: object) -> Study:
    """Write crops of lesions whose classes differ in density and outline.

    ``job.difference`` is in standard deviations; ``further`` are training settings.
    """
    random = np.random.default_rng(job.seed)
    model = {"dim": "3d", "network": "densenet", "network_options": NETWORK}
    training = {
        "epochs": job.epochs,
        "batch_size": 8,
        "learning_rate": 0.005,
        "seed": job.seed,
        **further,
    }
    settings = {
        "name": "learning",
        "classes": list(CLASSES),
        "preprocess": {"crop_3d": {"size": job.size}},
        "folds": {"count": 2, "seed": job.seed},
        "fusion": {"combinations": {}},
        "models": {"3d": {**model, "training": training}},
    }
    root.mkdir(parents=True, exist_ok=True)
    (root / "study.yaml").write_text(yaml.safe_dump(settings))
    study = Study.open(root)
    made_with = {
        "settings": {
            "preprocess": load_settings(study.settings_file).preprocess.model_dump(mode="json")
        }
    }
    truth = np.arange(job.patients) % 2
    labels = random.permutation(truth) if job.shuffled else truth
    rows = []
    study.crop("x", "3d").parent.mkdir(parents=True)
    for number in range(job.patients):
        case = f"C{number:03d}"
        crop = study.crop(case, "3d")
        nibabel.Nifti1Image(
            lesion(random, job.size, job.difference * truth[number]), np.eye(4)
        ).to_filename(crop)
        write_json(record_of(crop), made_with)
        rows.append(
            {"case_id": case, "patient_id": case, "label": CLASSES[labels[number]], "image": "none"}
        )
    pd.DataFrame(rows).to_csv(study.cohort_csv, index=False)
    return study


def lesion(random: np.random.Generator, size: int, shift: float) -> np.ndarray:
    """Draw an uneven ball in marrow, HU; ``shift`` changes its density and outline, in SD."""
    grid = (
        np.indices((size,) * 3) - (size - 1) / 2 - random.uniform(-1.5, 1.5, 3)[:, None, None, None]
    )
    distance = np.sqrt((grid**2).sum(axis=0)) / size
    rough = ndimage.gaussian_filter(random.normal(size=(size,) * 3), 1.5)
    rough /= rough.std()
    depth = np.clip(0.03 + 0.015 * (random.normal() + shift), 0, None)
    inside = distance < random.uniform(0.22, 0.34) + depth * rough
    hu = (
        60
        + np.where(inside, 250 + 80 * (random.normal() - shift), 0)
        + random.normal(0, 50, (size,) * 3)
    )
    return np.clip(hu, -1000, 3000).astype(np.int16)


if __name__ == "__main__":
    main()
