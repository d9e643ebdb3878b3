"""Two processes on one fold do what one does."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ctbone.predictions import read_predictions
from ctbone.training import TrainingError, train
from ctbone.training.ranks import Ranks, join_ranks
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
# Sums of other order differ by rounding. Adam makes full steps of gradients that are nothing but rounding, and the
# statistics of three samples magnify it.
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

    15 training cases: the last batch of three leaves the processes two and one; micro-batches of three likewise.
    """
    alone = small_study(tmp_path / "alone", models=MODELS, patients=40)
    together = small_study(tmp_path / "together", models=MODELS, patients=40)
    told = under_torchrun(2, "train", "--study", together.root, "--fold", 0)
    assert told.count("folds 1 are not trained yet") == len(MODELS), "only one process speaks"
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # as each of the two: sums over more threads have another order
    for name in MODELS:
        train(alone, name, fold=0)
    torch.set_num_threads(before)
    for name in MODELS:
        ours, theirs = (
            pd.read_csv(study.run(name, 0) / "metrics.csv") for study in (alone, together)
        )
        columns = ["loss", "validation_auc", "validation_loss", "learning_rate"]
        np.testing.assert_allclose(theirs[columns], ours[columns], rtol=0, atol=TOLERANCE[name])
        one, two = (
            load_file(study.run(name, 0) / "weights.safetensors") for study in (alone, together)
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


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_sample_is_one_process_s(count):
    for part in (slice(0, 20), slice(20, 29), slice(40, 43)):
        shares = [Ranks(rank, count).share(part) for rank in range(count)]
        taken = [place for share in shares for place in range(share.start, share.stop)]
        assert taken == list(range(part.start, part.stop))
        sizes = [share.stop - share.start for share in shares]
        assert max(sizes) - min(sizes) <= 1


def test_a_batch_job_of_several_tasks_that_did_not_use_srun_is_alone(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "4")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert join_ranks.__wrapped__().count == 1


def test_processes_that_see_too_few_gpus_are_told(monkeypatch):
    for name, value in {
        "SLURM_STEP_NUM_TASKS": "4",
        "SLURM_STEP_NUM_NODES": "2",
        "SLURM_PROCID": "1",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(TrainingError, match="more processes than GPUs") as caught:
        join_ranks.__wrapped__()
    assert caught.value.found == "2 processes on a machine, 1 GPUs"
