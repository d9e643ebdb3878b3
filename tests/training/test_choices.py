"""The optional training settings: each has its effect, and a killed training resumes with it."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from ctbone import study as study_module
from ctbone.errors import ConfigError
from ctbone.learning import checkpoint, loop
from ctbone.lock import machine
from ctbone.study import StudyError
from ctbone.training import epochs, protocol, task, train
from tests.models.small_study import TINY, model_of, small_study

ALL_ON = {
    "epochs": 3,
    "batch_size": 4,
    "precision": "fp32",
    "schedule": "cosine",
    "warmup_epochs": 1,
    "loss": "focal",
    "class_weights": "balanced",
    "label_smoothing": 0.1,
    "sampling": "balanced",
    "mixup": 0.4,
    "ema": 0.9,
    "early_stopping": 3,
    "micro_batch": 2,
}
STEADY = {**TINY, "norm": ["group", {"num_groups": 2}]}
"""Without batch normalization: the output for a sample does not depend on its batch."""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


def trained(root, name="m", options=None, **training):
    model = model_of(
        "3d",
        network_options=options or TINY,
        training={"precision": "fp32", "batch_size": 4, **training},
    )
    study = small_study(root, models={name: model}, patients=20, external=0)
    train(study, name, fold=0)
    return study


def weights(study, fold=0):
    return load_file(study.run_folder("m", fold) / "weights.safetensors")


def metrics(study):
    return pd.read_csv(study.run_folder("m", 0) / "metrics.csv")


def copied(network):
    return {name: value.clone() for name, value in network.state_dict().items()}


def differ(a, b):
    return max((a[name].double() - b[name].double()).abs().max().item() for name in a)


@pytest.mark.parametrize("class_weights", ["none", {"benign": 1, "malignant": 4}])
def test_a_batch_in_parts_updates_the_weights_as_the_whole(tmp_path, class_weights):
    shared = {
        "options": STEADY,
        "epochs": 2,
        "batch_size": 8,
        "optimizer": "sgd",
        "class_weights": class_weights,
    }
    whole = trained(tmp_path / "whole", **shared)
    parts = trained(tmp_path / "parts", micro_batch=3, **shared)
    smaller = trained(tmp_path / "smaller", **{**shared, "batch_size": 3})
    assert differ(weights(whole), weights(parts)) < 1e-5
    assert differ(weights(whole), weights(smaller)) > 1e-3
    assert np.allclose(metrics(whole)["loss"], metrics(parts)["loss"], rtol=1e-5)


@pytest.mark.parametrize(
    "choice",
    [
        {"schedule": "cosine"},
        {"warmup_epochs": 1},
        {"loss": "focal"},
        {"class_weights": {"benign": 1, "malignant": 4}},
        {"label_smoothing": 0.2},
        {"sampling": "balanced"},
        {"mixup": 0.5},
        {"ema": 0.8},
        {"micro_batch": 2},
    ],
    ids=lambda choice: next(iter(choice)),
)
def test_each_setting_changes_the_training_and_is_off_by_default(tmp_path_factory, choice):
    plain = weights(_plain(tmp_path_factory))
    assert differ(plain, weights(trained(tmp_path_factory.mktemp("choice"), **choice))) > 1e-6


def _plain(tmp_path_factory, kept={}):  # noqa: B006 (one training serves all choices)
    if not kept:
        kept["study"] = trained(tmp_path_factory.mktemp("plain"))
    return kept["study"]


def test_balanced_class_weights_come_from_the_training_part_alone(tmp_path, monkeypatch):
    seen = []
    real = task.make_loss

    def spy(training, weights, folder):
        seen.append(weights)
        return real(training, weights, folder)

    monkeypatch.setattr(task, "make_loss", spy)
    model = model_of("3d", training={"epochs": 1, "class_weights": "balanced"})
    study = small_study(tmp_path, models={"m": model}, patients=31, external=0)
    train(study, "m", fold=0)
    folds = pd.read_csv(study.folds_csv)
    counts = folds.loc[folds["role_0"] == "train", "label"].value_counts()
    expected = [counts.sum() / (2 * counts[name]) for name in ("benign", "malignant")]
    assert expected[0] != expected[1]
    assert {tuple(given.tolist()) for given in seen} == {tuple(np.float32(expected).tolist())}


def test_the_learning_rate_is_in_the_metrics(tmp_path):
    study = trained(tmp_path, epochs=3, schedule="cosine", warmup_epochs=1, learning_rate=0.02)
    rates = metrics(study)["learning_rate"]
    assert rates[0] == 0.02
    assert rates.is_monotonic_decreasing
    assert 0 < rates[2] < 0.01


def test_the_ema_is_validated_and_kept(tmp_path, monkeypatch):
    judged = []
    real = epochs.validate
    monkeypatch.setattr(
        epochs, "validate", lambda task, net: judged.append(copied(net)) or real(task, net)
    )
    steps_seen = []
    update = loop.EMA.update

    def spy(self, network, step):
        update(self, network, step)
        steps_seen.append(step)

    monkeypatch.setattr(loop.EMA, "update", spy)
    study = trained(tmp_path, epochs=2, ema=0.7)
    assert differ(weights(study), judged[-1]) == 0 or differ(weights(study), judged[0]) == 0
    assert steps_seen == list(range(1, len(steps_seen) + 1))


def test_a_fold_stops_early(tmp_path, monkeypatch):
    aucs = iter([0.5, 0.8, 0.7, 0.8, 0.6, 0.9])
    losses = iter([0.5, 0.5, 0.5, 0.5, 0.5, 0.5])
    monkeypatch.setattr(epochs, "validate", lambda *args: (next(aucs), next(losses)))
    study = trained(tmp_path, epochs=6, early_stopping=3)
    assert list(metrics(study)["epoch"]) == [1, 2, 3, 4, 5]
    (study.run_folder("m", 0) / "card.json").unlink()
    assert train(study, "m", fold=0).folds[0].epoch == 2  # and a resumed one stays stopped


class Killed(BaseException):
    pass


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol, "draw_curves", lambda *_, **__: None)
        study = study_with_all_on(tmp_path_factory.mktemp("unbroken"))
        train(study, "m", fold=0)
    return study


def study_with_all_on(root):
    options = {**TINY, "dropout_prob": 0.2}
    return small_study(
        root, models={"m": model_of("3d", network_options=options, training=ALL_ON)}, patients=20
    )


def nth_call(function, n):
    calls = 0

    def killing(*args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == n:
            raise Killed
        return function(*args, **kwargs)

    return killing


@pytest.mark.parametrize("where", ["step", "best weights", "checkpoint", "metrics", "last metrics"])
def test_with_every_setting_a_kill_anywhere_changes_no_bit(tmp_path, monkeypatch, unbroken, where):
    broken = study_with_all_on(tmp_path)
    target, name, calls = {
        "step": (loop.EMA, "update", 6),
        "best weights": (checkpoint, "save_weights", 1),
        "checkpoint": (checkpoint, "atomic_path", 3),
        "metrics": (checkpoint, "write_metrics", 3),
        "last metrics": (checkpoint, "write_metrics", 3),
    }[where]
    with monkeypatch.context() as patch:
        patch.setattr(
            target,
            name,
            nth_call(
                getattr(target, name),
                calls if where.startswith("last") else random.Random(where).randint(1, calls),
            ),
        )
        with pytest.raises(Killed):
            train(broken, "m", fold=0)
    train(broken, "m", fold=0)
    assert differ(weights(unbroken), weights(broken)) == 0
    assert not list(broken.run_folder("m", 0).glob("best-epoch*"))
    assert metrics(broken).drop(columns="seconds").equals(metrics(unbroken).drop(columns="seconds"))
    assert unbroken.predictions_csv("m").read_bytes() == broken.predictions_csv("m").read_bytes()


def test_kill_9_changes_no_bit(tmp_path, unbroken):
    broken = study_with_all_on(tmp_path)
    command = [sys.executable, "-m", "ctbone", "train", "--fold", "0", "--study", str(broken.root)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while (
        not (broken.run_folder("m", 0) / "checkpoint.pt").exists() and time.monotonic() < deadline
    ):
        assert process.poll() is None
        time.sleep(0.005)
    time.sleep(random.Random(0).uniform(0, 0.2))
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not broken.predictions_csv("m").exists()
    train(broken, "m", fold=0)
    assert unbroken.predictions_csv("m").read_bytes() == broken.predictions_csv("m").read_bytes()


def test_a_full_disk_keeps_the_epochs_before_it(tmp_path, monkeypatch, unbroken):
    """The disk is full at the third checkpoint; /dev/full fails as a full disk does."""
    broken = study_with_all_on(tmp_path)
    run = broken.run_folder("m", 0)
    own = f".writing-{machine()}-{os.getpid()}-0-"
    real = checkpoint.save_checkpoint

    def fill_up(path, state, identity):
        if len(state.history) == 3:
            (run / f"{own}checkpoint.pt").symlink_to("/dev/full")
        real(path, state, identity)

    with monkeypatch.context() as patch:
        patch.setattr(study_module, "_temporary", lambda path: path.with_name(own + path.name))
        patch.setattr(checkpoint, "save_checkpoint", fill_up)
        with pytest.raises(StudyError, match="No space left") as caught:
            train(broken, "m", fold=0)
    assert "free some space" in caught.value.remedy
    assert len(metrics(broken)) == 2
    trained_epochs = []
    spied = epochs.train_epoch
    monkeypatch.setattr(
        epochs,
        "train_epoch",
        lambda task, learner, n: trained_epochs.append(n) or spied(task, learner, n),
    )
    train(broken, "m", fold=0)
    assert trained_epochs == [3]
    assert differ(weights(unbroken), weights(broken)) == 0


def test_lost_best_weights_are_an_error(tmp_path, monkeypatch):
    study = study_with_all_on(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "train_epoch", nth_call(epochs.train_epoch, 3))
        with pytest.raises(Killed):
            train(study, "m", fold=0)
    best = next(study.run_folder("m", 0).glob("best-epoch*"))
    best.write_bytes(best.read_bytes()[:-1] + b"\x00")
    with pytest.raises(protocol.TrainingError, match="not those of the checkpoint"):
        train(study, "m", fold=0)
    best.unlink()
    with pytest.raises(protocol.TrainingError, match="best weights are missing") as caught:
        train(study, "m", fold=0)
    assert "checkpoint.pt" in caught.value.remedy


@pytest.mark.parametrize(
    ("training", "word"),
    [
        ({"warmup_epochs": 2, "epochs": 2}, "warmup_epochs"),
        ({"micro_batch": 9}, "micro_batch"),
        ({"micro_batch": 1}, "micro_batch"),
        ({"class_weights": {"benign": 1}}, "class_weights"),
        ({"class_weights": {"benign": 1, "malignant": 0}}, "class_weights"),
        ({"class_weights": "balance"}, "class_weights"),
        ({"ema": 1}, "ema"),
        ({"label_smoothing": 1}, "label_smoothing"),
        ({"early_stopping": 0}, "early_stopping"),
        ({"schedule": "linear"}, "schedule"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, training, word):
    with pytest.raises(ConfigError, match=word):
        small_study(tmp_path, models={"m": model_of("3d", training=training)}, patients=4)


def test_three_classes_with_every_setting(tmp_path):
    classes = ("benign", "intermediate", "malignant")
    weights_given = {"benign": 1, "intermediate": 2, "malignant": 1}
    model = model_of("3d", training={**ALL_ON, "epochs": 2, "class_weights": weights_given})
    study = small_study(
        tmp_path, models={"m": model}, classes=classes, patients=24, external=0, folds=2
    )
    assert 0 <= train(study, "m", fold=0).folds[0].score <= 1
    assert torch.isfinite(torch.tensor(metrics(study)["loss"].to_numpy())).all()
