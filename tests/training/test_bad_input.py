"""Wrong input before or between trainings is a clear error, and no good file is lost."""

import json
import os

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from ctbone import study as study_module
from ctbone.errors import FoldError
from ctbone.lock import machine
from ctbone.models import ModelError
from ctbone.models.networks import build_network
from ctbone.study import Study, StudyError, file_hash, record_of
from ctbone.training import TrainingError, epochs, protocol, train
from tests.models.small_study import TINY, model_of, small_study, write_settings
from tests.models.test_pretrained import Bomb


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", models={"3d": model_of("3d")}, patients=16, external=0)


def test_a_case_without_a_crop_is_named(study):
    study.crop("C003", "3d").unlink()
    with pytest.raises(ModelError, match="1 of 16 cases have no 3d crop: C003") as caught:
        train(study, "3d")
    assert "ctbone preprocess" in caught.value.remedy
    assert not (study.root / "runs").exists()


def test_a_class_with_fewer_patients_than_folds_is_named(tmp_path):
    study = small_study(tmp_path, models={"3d": model_of("3d")}, patients=7, external=0, folds=4)
    with pytest.raises(
        FoldError, match="class 'malignant' has fewer internal patients than there are folds"
    ):
        train(study, "3d")
    assert not study.folds_csv.exists()


@pytest.mark.parametrize(("role", "word"), [("val", "validation"), ("train", "training")])
def test_a_part_without_a_class_is_an_error_before_the_first_epoch(study, role, word):
    train(study, "3d", fold=1)
    before = study.predictions_csv("3d").read_bytes()
    table = pd.read_csv(study.folds_csv)
    wrong = (table["role_0"] == role) & (table["label"] == "benign")
    table.loc[wrong, "role_0"] = "train" if role == "val" else "val"
    table.to_csv(study.folds_csv, index=False)
    record = json.loads(record_of(study.folds_csv).read_text())
    record_of(study.folds_csv).write_text(
        json.dumps({**record, "sha256": file_hash(study.folds_csv)})
    )
    with pytest.raises(
        TrainingError, match=f"the {word} part of fold 0 has no case of class 'benign'"
    ):
        train(study, "3d", fold=0)
    assert not any(study.run("3d", 0).glob("*"))
    assert study.predictions_csv("3d").read_bytes() == before


def test_initial_weights_of_another_network_are_an_error(study):
    other = model_of("3d", network_options={**TINY, "init_features": 16})
    write_settings(study.root, models={"3d": other})
    network = build_network(Study.open(study.root).settings.models["3d"], 2)
    save_file(network.state_dict(), study.root / "other.safetensors")
    write_settings(study.root, models={"3d": model_of("3d", weights="other.safetensors")})
    with pytest.raises(ModelError, match="the weights are of another network") as caught:
        train(Study.open(study.root), "3d")
    assert (
        "features.conv0.weight is (16, 1, 7, 7, 7), expected (8, 1, 7, 7, 7)" in caught.value.found
    )


def test_code_in_a_checkpoint_is_not_run_and_other_folds_are_unchanged(study, tmp_path):
    train(study, "3d", fold=1)
    before = study.predictions_csv("3d").read_bytes()
    file = study.run("3d", 0) / "checkpoint.pt"
    file.parent.mkdir()
    torch.save({"format": 3, "network": Bomb(tmp_path / "ran")}, file)
    with pytest.raises(TrainingError, match="was not run") as caught:
        train(study, "3d")
    assert str(file) in caught.value.remedy
    assert not (tmp_path / "ran").exists()
    assert study.predictions_csv("3d").read_bytes() == before


@pytest.mark.parametrize(
    "file", ["weights.safetensors", "predictions_internal.csv", "card.json", "metrics.csv"]
)
def test_a_full_disk_at_the_end_costs_no_epoch(study, monkeypatch, file):
    """/dev/full in place of the temporary file fails as a full disk does."""
    run = study.run("3d", 0)
    run.mkdir(parents=True)
    own = f".writing-{machine()}-{os.getpid()}-0-"
    monkeypatch.setattr(study_module, "_temporary", lambda path: path.with_name(own + path.name))
    (run / f"{own}{file}").symlink_to("/dev/full")
    with pytest.raises(StudyError, match="No space left"):
        train(study, "3d", fold=0)
    kept = load_file(next(run.glob("best-epoch*")))
    trained = []
    real = epochs.train_epoch
    monkeypatch.setattr(epochs, "train_epoch", lambda *args: trained.append(args[2]) or real(*args))
    train(study, "3d", fold=0)
    assert trained == ([2] if file == "metrics.csv" else [])
    if not trained:
        found = load_file(run / "weights.safetensors")
        assert all(torch.equal(found[name], kept[name]) for name in kept)
    assert not list(run.glob(".writing*"))
