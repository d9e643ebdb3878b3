"""Two processes on one fold give the metrics of one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file

from ctbone.predictions import read_predictions
from ctbone.training import train
from tests.models.small_study import model_of, small_study

TRAINING = {"epochs": 3, "batch_size": 6}
MODELS = {
    "sgd": model_of("3d", training={**TRAINING, "optimizer": "sgd"}),
    "adam": model_of("3d", training={**TRAINING, "learning_rate": 1e-4}),
    "mixed": model_of(
        "3d",
        training={
            **TRAINING,
            "optimizer": "sgd",
            "mixup": 0.4,
            "class_weights": "balanced",
            "micro_batch": 3,
            "ema": 0.9,
        },
    ),
}
# Sums in another order differ by rounding. Adam makes full steps of gradients that are nothing but
# rounding, and the statistics of three samples magnify it.
TOLERANCE = {"sgd": 1e-6, "adam": 5e-5, "mixed": 1e-3}


def under_torchrun(processes, *arguments):
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        str(processes),
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path.cwd())}
    done = subprocess.run(
        [*command, "-m", "ctbone", *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_two_processes_give_the_metrics_of_one(tmp_path):
    """A batch of six over two processes, its batch statistics and gradients those of all six.

    15 training cases: the processes get two and one of the last batch of three; micro-batches of
    three likewise.
    """
    alone = small_study(tmp_path / "alone", models=MODELS, patients=40)
    together = small_study(tmp_path / "together", models=MODELS, patients=40)
    printed = under_torchrun(2, "train", "--study", together.root, "--fold", 0)
    assert printed.count("folds 1 are not trained yet") == len(MODELS), "only rank 0 prints"
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two: sums over more threads have another order
    for name in MODELS:
        train(alone, name, fold=0)
    torch.set_num_threads(before)
    for name in MODELS:
        ours, theirs = (
            pd.read_csv(study.run_folder(name, 0) / "metrics.csv") for study in (alone, together)
        )
        columns = ["loss", "score", "validation_loss", "learning_rate"]
        np.testing.assert_allclose(theirs[columns], ours[columns], rtol=0, atol=TOLERANCE[name])
        one, two = (
            load_file(study.run_folder(name, 0) / "weights.safetensors")
            for study in (alone, together)
        )
        assert one.keys() == two.keys()
        for tensor in one:
            torch.testing.assert_close(
                two[tensor], one[tensor], atol=10 * TOLERANCE[name], rtol=1e-3
            )
        tables = [
            read_predictions(study.predictions_csv(name), ("benign", "malignant"))
            for study in (alone, together)
        ]
        assert (tables[0]["case_id"] == tables[1]["case_id"]).all()
        np.testing.assert_allclose(
            tables[1]["p_malignant"], tables[0]["p_malignant"], atol=10 * TOLERANCE[name]
        )
