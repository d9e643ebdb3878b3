"""Time of ctbone readers, as a user runs it: six readers, 514 cases, two sessions."""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from timing import machine

from ctbone.phantom.class_appearance import separation
from ctbone.phantom.reader_scores import draw_readers, draw_scores

CASES, POSITIVES = 514, 385  # cohort 1 of the main paper


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_study(folder)
        times = [run(folder) for _ in range(options.rounds)]
    wall, processor = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{machine()}; median of {options.rounds} rounds")
    print(f"ctbone readers: {wall:.1f} s, of them {processor:.1f} s of processor time")


def write_study(folder: Path) -> None:
    """Write the scores of six synthetic readers, the truth and the model's probabilities."""
    rng = np.random.default_rng(0)
    y = rng.permutation(np.arange(CASES) < POSITIVES)
    evidence = rng.normal(scale=2**0.5, size=CASES) + (2 * y - 1) * separation(0.5)
    case_ids = [f"P{number:04d}" for number in range(CASES)]
    scores = [
        vars(score)
        for reader in draw_readers(rng)
        for score in draw_scores(
            rng, reader, case_ids=case_ids, evidence=evidence, sessions=("unaided", "aided")
        )
    ]
    pd.DataFrame(scores).drop(columns="day").to_csv(folder / "scores.csv", index=False)
    truth = pd.DataFrame({"case_id": case_ids, "label": np.where(y, "malignant", "benign")})
    truth.to_csv(folder / "cohort.csv", index=False)
    p = 1 / (1 + np.exp(-(0.8 * evidence + rng.normal(size=CASES))))
    model = pd.DataFrame({"case_id": case_ids, "p_malignant": p})
    model.to_csv(folder / "model.csv", index=False)


def run(folder: Path) -> tuple[float, float]:
    """Run the command once; wall and processor seconds."""
    command = [sys.executable, "-m", "ctbone", "readers", "scores.csv", "--truth", "cohort.csv"]
    command += ["--model", "model.csv", "--out", "out", "--margin", "0.05"]
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - start, os.times()
    used = after.children_user + after.children_system
    return wall, used - before.children_user - before.children_system


if __name__ == "__main__":
    main()
