"""Training in bf16 and in fp32: out-of-fold AUC of the same studies, seed by seed.

A device without bf16 arithmetic imitates it: inputs and outputs of every convolution, matrix
product, normalization and pooling, and their gradients, are rounded to bf16. Sums stay in fp32, as
on a device that has it.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from learning import Job, make_study
from scipy import stats
from timing import machine
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from ctbone.config import TrainingSettings
from ctbone.models.hardware import Hardware, choose_hardware, computes_in_bf16
from ctbone.predictions import read_predictions
from ctbone.stats import auc
from ctbone.training import protocol, train

ARMS = ("fp32", "fp32, other seed", "bf16")
MARGIN = 0.03
_ROUNDED = (
    functional.conv3d,
    functional.linear,
    functional.batch_norm,
    functional.avg_pool3d,
    functional.adaptive_avg_pool3d,
)


class Round(torch.autograd.Function):
    """Round to the nearest bf16 number, forward and backward."""

    @staticmethod
    def forward(context, value):
        return value.bfloat16().float()

    @staticmethod
    def backward(context, gradient):
        return gradient.bfloat16().float()


class Bf16(TorchFunctionMode):
    """Round what goes into and comes out of the operations that autocast runs in bf16."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function not in _ROUNDED:
            return function(*args, **(kwargs or {}))
        # The statistics and weights of a normalisation stay in fp32.
        wide = 1 if function is functional.batch_norm else len(args)
        narrow = [
            Round.apply(a) if k < wide and torch.is_tensor(a) else a for k, a in enumerate(args)
        ]
        return Round.apply(function(*narrow, **(kwargs or {})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--seeds", type=int, default=40)
    parser.add_argument(
        "--difference", type=float, default=2.0, help="between the classes, in their spreads"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args()
    own = computes_in_bf16(choose_hardware(TrainingSettings()).device)
    jobs = [(arm, options.difference, seed, own) for seed in range(options.seeds) for arm in ARMS]
    began = time.perf_counter()
    workers = 1 if torch.cuda.is_available() else options.workers
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        found = np.reshape(list(pool.map(area, jobs)), (options.seeds, len(ARMS)))
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "monai"))
    kind = "by the device" if own else "imitated by rounding"
    print(
        f"{machine()}; {versions}; bf16 {kind}; "
        f"{len(jobs)} studies in {time.perf_counter() - began:.0f} s\n"
    )
    print(
        "| arm | out-of-fold AUC, mean | SD over seeds | minus fp32, mean (95 % t interval) "
        "| SD of that |\n"
        "|---|---|---|---|---|"
    )
    for column, arm in enumerate(ARMS):
        apart = found[:, column] - found[:, 0]
        difference = "" if column == 0 else f"{apart.mean():+.4f} ({_interval(apart)})"
        spread = "" if column == 0 else f"{apart.std(ddof=1):.3f}"
        print(
            f"| {arm} | {found[:, column].mean():.3f} | {found[:, column].std(ddof=1):.3f} "
            f"| {difference} | {spread} |"
        )
    apart = found[:, 2] - found[:, 0]
    half = stats.t.ppf(0.95, len(apart) - 1) * stats.sem(apart)
    alike = abs(apart.mean()) + half < MARGIN
    print(
        f"\n90 % interval of bf16 minus fp32 within ±{MARGIN} (two one-sided tests at 5 %): "
        f"{'yes' if alike else 'no'}"
    )


def _interval(apart: np.ndarray) -> str:
    half = stats.t.ppf(0.975, len(apart) - 1) * stats.sem(apart)
    return f"{apart.mean() - half:+.4f} to {apart.mean() + half:+.4f}"


def area(job: tuple[str, float, int, bool]) -> float:
    """Train both folds of a study in one arm and return the mean of the folds' AUC."""
    arm, difference, seed, own = job
    torch.set_num_threads(1)
    protocol.draw_curves = lambda *_, **__: None
    precision = "bf16" if arm == "bf16" else "fp32"
    if not own:
        Hardware.autocast = lambda self: Bf16() if self.bf16 else contextlib.nullcontext()
    with tempfile.TemporaryDirectory() as folder:
        planted = Job(
            difference=difference, shuffled=False, seed=seed, patients=80, size=16, epochs=8
        )
        further = {"precision": precision, "seed": seed + (5000 if "other" in arm else 0)}
        study = make_study(Path(folder), planted, **further)
        summary = train(study, "3d", notes=False)
        table = read_predictions(summary.predictions, study.settings.classes)
    tested = table[table["split"] == "test"]
    folds = [part for _, part in tested.groupby("fold")]
    return float(
        np.mean([auc(part["label"] == "malignant", part["p_malignant"]) for part in folds])
    )


if __name__ == "__main__":
    main()
