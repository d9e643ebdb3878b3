"""Time and memory a case of every command, in a small and in a large study of small volumes.

Run: scripts/bench scale [--cases 1000 10000] [--keep DIR]

The commands run as a user runs them, on cases of 24 × 24 × 16 voxels, with a network of a few
layers trained for one epoch. The last columns are the ratios of the largest study to the smallest:
time a case, and memory of the largest process. Goal: at most 1.2 for the time a case.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import yaml
from timing import machine

from ctbone.predictions import probability_columns

SHAPE, SPACING = (24, 24, 16), (4.0, 4.0, 5.0)  # voxels, mm
CELLS = 6  # cells of the random field along each axis: no two patients are alike
LARGEST_RATIO = 1.2  # goal: time a case, large against small study
ROWS, SECONDS, MIB = 1_000_000, 20, 1024  # goal of evaluate
NETWORK = {"block_config": [1, 1], "growth_rate": 4, "init_features": 8, "bn_size": 2}
SETTINGS = {
    "name": "scale",
    "classes": ["benign", "malignant"],
    "folds": {"count": 2},
    "preprocess": {"crop_3d": {"size": 16, "spacing": 4}, "images_2d": {"size": 16}},
    "training": {"epochs": 1, "batch_size": 32, "learning_rate": 0.01},
    "evaluation": {"bootstrap": 100},
    "models": {
        "3d": {"dim": "3d", "network": "densenet", "network_options": NETWORK},
        "2d": {"dim": "2d", "network": "densenet", "network_options": NETWORK},
    },
}
COMMANDS = {
    "check": ["check"],
    "preprocess": ["preprocess", "--workers", "2"],
    "preprocess, all up to date": ["preprocess", "--workers", "2"],
    "train, two folds of two models": ["train"],
    "predict": ["predict"],
    "fuse": ["fuse", "--with-reader", "scores.csv"],
    "status": ["status"],
    "report": ["report"],
}


@dataclass(frozen=True)
class Run:
    """One command: seconds, and the peak of its largest process in MiB."""

    seconds: float
    mib: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--keep", type=Path, help="folder of the studies; default: a temporary one")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        runs = {cases: run_study(folder / str(cases), cases) for cases in sorted(options.cases)}
        sizes = {cases: report_size(folder / str(cases)) for cases in runs}
        evaluated = evaluate_rows(folder)
    print_table(runs)
    print()
    for cases, size in sizes.items():
        print(f"report of {cases} cases: {size / 1e6:.1f} MB")
    print(
        f"evaluate on {ROWS} rows: {evaluated.seconds:.1f} s, {evaluated.mib:.0f} MiB "
        f"(goals {SECONDS} s, {MIB} MiB)"
    )


def print_table(runs: dict[int, dict[str, Run]]) -> None:
    """Print a row for each command."""
    small, large = min(runs), max(runs)
    print(f"{machine()}; volumes of {' × '.join(map(str, SHAPE))} voxels\n")
    head = [f"{cases} cases: ms a case, MiB" for cases in runs]
    print(f"| command | {' | '.join(head)} | time a case, ratio | memory, ratio |")
    print("|---" * (len(runs) + 3) + "|")
    for name in COMMANDS:
        cells = [
            f"{1000 * run[name].seconds / n:.2f}, {run[name].mib:.0f}" for n, run in runs.items()
        ]
        first, last = runs[small][name], runs[large][name]
        ratio = (last.seconds / large) / (first.seconds / small)
        verdict = "met" if ratio <= LARGEST_RATIO else "missed"
        cells += [f"{ratio:.2f}, {verdict}", f"{last.mib / first.mib:.2f}"]
        print(f"| {name} | {' | '.join(cells)} |")


def run_study(root: Path, cases: int) -> dict[str, Run]:
    """Write a study and run every command on it."""
    write_study(root, cases)
    return {name: measure(arguments, root) for name, arguments in COMMANDS.items()}


def measure(arguments: list[str], folder: Path) -> Run:
    """Run a command; stop with its messages if it fails."""
    began = time.perf_counter()
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(
            [sys.executable, "-m", "ctbone", *arguments],
            cwd=folder,
            stdout=messages,
            stderr=messages,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            messages.seek(0)
            sys.exit(f"{' '.join(arguments)} failed:\n{messages.read()[-2000:]}")
    print(
        f"{folder.name}: {' '.join(arguments)}, {time.perf_counter() - began:.1f} s",
        file=sys.stderr,
    )
    return Run(time.perf_counter() - began, usage.ru_maxrss / 1024)


def write_study(root: Path, cases: int) -> None:
    """Write volumes, masks, cohort and a reader's scores; a tenth of the cases is external."""
    (root / "images").mkdir(parents=True)
    (root / "study.yaml").write_text(yaml.safe_dump(SETTINGS))
    random = np.random.default_rng(0)
    rows, scores = [], []
    for number in range(cases):
        name, malignant = f"C{number:05d}", bool(random.random() < 0.4)
        write_case(root / "images" / name, random, malignant)
        rows.append(
            {
                "case_id": name,
                "patient_id": f"P{number:05d}",
                "label": "malignant" if malignant else "benign",
                "cohort": "centre2" if number % 10 == 9 else "internal",
                "image": f"images/{name}.nii",
                "mask": f"images/{name}_mask.nii",
                "age": int(random.integers(20, 80)),
                "sex": "FM"[random.integers(2)],
            }
        )
        score = int(np.clip(round(random.normal(6.5 if malignant else 3.5, 2)), 1, 9))
        score = 6 if score == 5 else score
        scores.append(
            {
                "reader_id": "R1",
                "level": "senior",
                "session": "unaided",
                "case_id": name,
                "score": score,
            }
        )
    pd.DataFrame(rows).to_csv(root / "cohort.csv", index=False)
    pd.DataFrame(scores).to_csv(root / "scores.csv", index=False)


def write_case(path: Path, random: np.random.Generator, malignant: bool) -> None:
    """Write soft tissue with a random field in air, and a ball that is brighter if malignant."""
    field = random.normal(0, 60, (CELLS,) * 3)
    repeats = [-(-size // CELLS) for size in SHAPE]
    for axis, repeat in enumerate(repeats):
        field = np.repeat(field, repeat, axis=axis)
    volume = 40 + field[tuple(slice(size) for size in SHAPE)] + random.normal(0, 10, SHAPE)
    volume[:2] = volume[-2:] = -1000
    centre = np.array(SHAPE) / 2 + random.uniform(-1, 1, 3)
    places = np.moveaxis(np.indices(SHAPE), 0, -1)
    ball = (((places - centre) * SPACING) ** 2).sum(axis=-1) < random.uniform(10, 20) ** 2
    volume[ball] += 250 + 150 * malignant
    affine = np.diag([*SPACING, 1.0])
    nib.save(nib.Nifti1Image(np.rint(volume).astype(np.int16), affine), f"{path}.nii")
    nib.save(nib.Nifti1Image(ball.astype(np.uint8), affine), f"{path}_mask.nii")


def report_size(root: Path) -> int:
    """Bytes of the report's page."""
    return (root / "report/index.html").stat().st_size


def evaluate_rows(folder: Path) -> Run:
    """Run ``ctbone evaluate`` on a table of ``ROWS`` rows."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    malignant = random.random(ROWS) < 0.4
    p = 1 / (1 + np.exp(0.7 - 1.5 * malignant - random.normal(size=ROWS)))
    columns = probability_columns(("benign", "malignant"))
    pd.DataFrame(
        {
            "case_id": [f"C{number:07d}" for number in range(ROWS)],
            "patient_id": [f"P{number:07d}" for number in range(ROWS)],
            "label": np.where(malignant, "malignant", "benign"),
            **dict(zip(columns, (1 - p, p), strict=True)),
        }
    ).to_csv(folder / "rows.csv", index=False)
    return measure(["evaluate", "rows.csv"], folder)


if __name__ == "__main__":
    main()
