import contextlib
import dataclasses
import json
import math
import shutil

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from sklearn.metrics import roc_auc_score

from ctbone.cohort import read_cohort
from ctbone.errors import FoldError
from ctbone.folds import read_folds
from ctbone.learning.ranks import Ranks
from ctbone.models import ModelError, hardware
from ctbone.models.trained import read_card
from ctbone.predictions import case_probabilities, read_predictions
from ctbone.study import Study, file_hash, record_of
from ctbone.training import TrainingError, epochs, protocol, task, train, train_folds
from tests.models.small_study import model_of, small_study, write_settings

CLASSES = ("benign", "malignant")


@pytest.fixture(autouse=True)
def no_figures(request, monkeypatch):
    """Skip the figure, which takes most of a tiny training's time; one test needs it."""
    if request.node.name != "test_what_a_fold_leaves":
        monkeypatch.setattr(protocol, "draw_curves", lambda *_, **__: None)


def weights(study, fold=0, model="3d"):
    return load_file(study.run(model, fold) / "weights.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture
def study(tmp_path):
    return small_study(tmp_path / "study", models={"3d": model_of("3d", training={"epochs": 3})})


def test_every_case_is_tested_once_and_validated_where_the_folds_say(study):
    summary = train(study, "3d")
    table = read_predictions(summary.predictions, CLASSES)
    cohort = read_cohort(study)
    folds = read_folds(study, cohort)
    for fold in range(2):
        for role in ("val", "test"):
            rows = table[(table["fold"] == fold) & (table["split"] == role)]
            assert tuple(rows["case_id"]) == folds.cases(fold, role)
    assert sorted(table.loc[table["split"] == "test", "case_id"]) == sorted(
        c.case_id for c in cohort.internal
    )
    assert (table["label"] == [cohort.case(case).label for case in table["case_id"]]).all()
    assert [fold.fold for fold in summary.folds] == [0, 1]
    assert summary.missing == ()


def test_what_a_fold_leaves(study):
    summary = train(study, "3d", fold=1)
    run = study.run("3d", 1)
    left = {"card.json", "checkpoint.pt", "curves.png", "metrics.csv", "weights.safetensors"}
    assert {file.name for file in run.iterdir()} == left | {
        "predictions_internal.csv",
        "predictions_internal.json",
    }
    assert summary.missing == (0,)
    metrics = pd.read_csv(run / "metrics.csv")
    card = json.loads((run / "card.json").read_text())
    best = metrics.sort_values(["score", "validation_loss"], ascending=[False, True]).iloc[0]
    assert (card["epoch"], card["score"]) == (best["epoch"], best["score"])
    assert card["training_key"]["classes"] == list(CLASSES)
    assert card["training_key"]["folds"] == file_hash(study.folds_csv)
    assert card["weights_sha256"] == file_hash(run / "weights.safetensors")
    validation = read_predictions(summary.predictions, CLASSES)
    own = validation[validation["split"] == "val"]
    assert roc_auc_score(own["label"] == "malignant", own["p_malignant"]) == pytest.approx(
        card["score"]
    )


def test_the_test_part_affects_neither_the_training_nor_the_epoch_kept(study, tmp_path):
    """Noise in place of every test image of fold 0 changes no bit of its weights or validation."""
    train(study, "3d", fold=0)
    other = small_study(tmp_path / "other", models={"3d": model_of("3d", training={"epochs": 3})})
    random = np.random.default_rng(5)
    tested = read_folds(study, read_cohort(study)).cases(0, "test")
    for case in tested:
        noise = random.integers(-1000, 3000, (8, 8, 8)).astype(np.int16)
        nibabel.Nifti1Image(noise, np.eye(4)).to_filename(other.crop(case, "3d"))
    train(other, "3d", fold=0)
    assert same(weights(study), weights(other))
    ours, theirs = (read_predictions(s.predictions_csv("3d"), CLASSES) for s in (study, other))
    assert ours[ours["split"] == "val"].equals(theirs[theirs["split"] == "val"])
    assert not ours[ours["split"] == "test"].equals(theirs[theirs["split"] == "test"])
    # the comparison above can fail: a training image does change the weights
    changed = read_folds(study, read_cohort(study)).cases(0, "train")[0]
    third = small_study(tmp_path / "third", models={"3d": model_of("3d", training={"epochs": 3})})
    nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)).to_filename(
        third.crop(changed, "3d")
    )
    train(third, "3d", fold=0)
    assert not same(weights(study), weights(third))


def test_a_patient_planted_in_two_roles_is_caught(study):
    train(study, "3d", fold=0)
    table = pd.read_csv(study.folds_csv)
    table.loc[table["role_1"] == "test", "patient_id"] = table.loc[
        table["role_1"] == "train", "patient_id"
    ].iloc[0]
    table.to_csv(study.folds_csv, index=False)
    with pytest.raises(FoldError):
        train(study, "3d", fold=1)
    record = json.loads(record_of(study.folds_csv).read_text())
    record["sha256"] = file_hash(study.folds_csv)
    record_of(study.folds_csv).write_text(json.dumps(record))
    with pytest.raises(FoldError, match="has two roles"):
        train(study, "3d", fold=1)


def test_one_scan_under_two_patients_is_caught(study):
    study.crop("C004", "3d").write_bytes(study.crop("C001", "3d").read_bytes())
    with pytest.raises(ModelError, match="identical"):
        train(study, "3d")
    assert not study.predictions_csv("3d").exists()


class Killed(BaseException):
    pass


@pytest.mark.parametrize("dim", ["3d", "2d"])
@pytest.mark.parametrize("after", ["first epoch", "last epoch", "weights"])
def test_killed_and_started_again_it_ends_with_the_same_predictions(
    tmp_path, monkeypatch, dim, after
):
    options = {"dropout_prob": 0.2, "block_config": [1, 1], "growth_rate": 4, "init_features": 8}
    model = model_of(dim, network_options=options, training={"epochs": 3, "precision": "fp32"})
    size = 8 if dim == "3d" else 16
    whole, broken = (
        small_study(tmp_path / name, models={"m": model}, size=size, patients=12) for name in "ab"
    )
    train(whole, "m")
    calls = 0

    def kill_after(times, function):
        def killing(*args, **kwargs):
            nonlocal calls
            calls += 1
            if calls == times + 1:
                raise Killed
            return function(*args, **kwargs)

        return killing

    with monkeypatch.context() as patch:
        if after == "weights":
            patch.setattr(protocol, "write_fold_table", kill_after(0, protocol.write_fold_table))
        else:
            times = 1 if after == "first epoch" else 3
            patch.setattr(epochs, "train_epoch", kill_after(times, epochs.train_epoch))
        with pytest.raises(Killed):
            train(broken, "m")
    torch.rand(7)  # the caller's random numbers matter to neither run
    train(broken, "m")
    for fold in range(2):
        assert same(weights(whole, fold, "m"), weights(broken, fold, "m"))
    assert whole.predictions_csv("m").read_bytes() == broken.predictions_csv("m").read_bytes()


def test_a_finished_fold_is_not_trained_again(study, monkeypatch):
    first = train(study, "3d")
    before = first.predictions.read_bytes()
    monkeypatch.setattr(epochs, "train_epoch", None)
    again = train(study, "3d")
    assert [fold.seconds for fold in again.folds] == [0, 0]
    assert [fold.score for fold in again.folds] == [fold.score for fold in first.folds]
    assert again.predictions.read_bytes() == before


def test_lost_predictions_of_a_finished_fold_come_back(study):
    before = train(study, "3d").predictions.read_bytes()
    (study.run("3d", 1) / "predictions_internal.csv").unlink()
    study.predictions_csv("3d").unlink()
    assert train(study, "3d").predictions.read_bytes() == before


@pytest.mark.parametrize("finished", [True, False])
def test_changed_settings_are_refused_and_nothing_is_lost(study, finished):
    train(study, "3d", fold=0)
    if not finished:
        (study.run("3d", 0) / "card.json").unlink()
    before = weights(study)
    write_settings(
        study.root, models={"3d": model_of("3d", training={"epochs": 3, "learning_rate": 0.02})}
    )
    with pytest.raises(TrainingError, match="other training settings"):
        train(Study.open(study.root), "3d")
    assert same(before, weights(study))


def test_changed_crops_are_refused(study):
    train(study, "3d", fold=0)
    nibabel.Nifti1Image(np.zeros((8, 8, 8), np.int16), np.eye(4)).to_filename(
        study.crop("C000", "3d")
    )
    with pytest.raises(TrainingError, match="other crops"):
        train(study, "3d", fold=0)


def test_changed_labels_are_refused(study):
    train(study, "3d", fold=0)
    cohort = pd.read_csv(study.cohort_csv)
    cohort.loc[[0, 1], "label"] = cohort.loc[[1, 0], "label"].tolist()
    cohort.to_csv(study.cohort_csv, index=False)
    with pytest.raises(FoldError, match="do not belong to this cohort"):
        train(study, "3d")


def test_a_damaged_checkpoint_stops_with_the_remedy(study, monkeypatch):
    train(study, "3d", fold=0)
    (study.run("3d", 0) / "card.json").unlink()
    file = study.run("3d", 0) / "checkpoint.pt"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(TrainingError, match="damaged") as caught:
        train(study, "3d")
    assert str(file) in caught.value.remedy
    file.unlink()
    train(study, "3d", fold=0)


def test_a_dry_run_writes_nothing(study):
    before = sorted(study.root.rglob("*"))
    summary = train(study, "3d", dry_run=True)
    assert sorted(study.root.rglob("*")) == before
    assert summary.predictions is None


def test_unknown_names_are_refused(study):
    with pytest.raises(ModelError, match="did you mean '3d'"):
        train(study, "3")
    with pytest.raises(TrainingError, match="no such fold"):
        train(study, "3d", fold=2)


def test_a_loss_that_is_nan_shows_the_batch_s_cases(study, monkeypatch):
    poisoned = 5
    real = epochs.network_input
    batches = []

    def poison(*args, **kwargs):
        seen = real(*args, **kwargs)
        batches.append(seen)
        return torch.where(torch.tensor(len(batches) == poisoned), math.nan, seen)

    write_settings(
        study.root, models={"3d": model_of("3d", training={"epochs": 3, "batch_size": 4})}
    )
    study = Study.open(study.root)
    orders = []
    real_plan = epochs.plan_epoch

    def spy(*args, **kwargs):
        plan = real_plan(*args, **kwargs)
        orders.append(plan.order)
        return plan

    monkeypatch.setattr(epochs, "network_input", poison)
    monkeypatch.setattr(epochs, "plan_epoch", spy)
    with pytest.raises(TrainingError, match="loss is NaN in epoch 3, batch 1 of fold 0") as caught:
        train(study, "3d")
    named = caught.value.found.split("cases ")[1].split(", ")
    assert named == [read_cohort(study).internal[row].case_id for row in orders[2][:4]]
    # the epochs before it are kept
    assert len(pd.read_csv(study.run("3d", 0) / "metrics.csv")) == 2


def test_the_test_part_is_predicted_and_checked_as_the_validation_part(study, monkeypatch):
    train(study, "3d", fold=1)
    cohort = read_cohort(study)
    tested = read_folds(study, cohort).cases(0, "test")
    rows_of_all = [case.case_id for case in cohort.internal]
    real = epochs.logits_of

    def spoil(network, source, *, rows, **given):
        logits = real(network, source, rows=rows, **given)
        if [rows_of_all[row] for row in rows] == list(tested):
            logits[2] = math.nan
        return logits

    monkeypatch.setattr(epochs, "logits_of", spoil)
    with pytest.raises(TrainingError, match="output is NaN in the test of fold 0") as caught:
        train(study, "3d", fold=0)
    assert caught.value.found == f"1 of {len(tested)} cases, first {tested[2]}"
    assert not (study.run("3d", 0) / "card.json").exists()


@pytest.mark.parametrize(
    "said",
    [
        "[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "CUDA out of memory. Tried to allocate 20.00 MiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "GET was unable to find an engine to execute this computation",
    ],
)
def test_memory_that_is_not_enough_names_the_setting(study, monkeypatch, said):
    def full(*args, **kwargs):
        raise RuntimeError(said)

    monkeypatch.setattr(epochs, "network_input", full)
    with pytest.raises(TrainingError, match="memory is not enough") as caught:
        train(study, "3d")
    assert "training.batch_size" in caught.value.remedy
    assert "training.micro_batch" in caught.value.remedy


def choose(monkeypatch, *, bf16):
    """Let training run as if bf16 or fp32 had been chosen; it computes in fp32 either way."""
    real = hardware.choose_hardware
    chosen = lambda *given: dataclasses.replace(real(*given), bf16=bf16)  # noqa: E731
    monkeypatch.setattr(task, "choose_hardware", chosen)
    monkeypatch.setattr(hardware.Hardware, "autocast", lambda self: contextlib.nullcontext())


@pytest.mark.parametrize(("begun", "now"), [("fp32", "bf16"), ("bf16", "fp32")])
def test_a_fold_begun_in_one_arithmetic_is_not_ended_in_another(tmp_path, monkeypatch, begun, now):
    training = {"epochs": 2, "precision": "auto"}
    study = small_study(tmp_path, models={"3d": model_of("3d", training=training)})
    choose(monkeypatch, bf16=begun == "bf16")
    with monkeypatch.context() as patch:
        patch.setattr(protocol, "_finish", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(study, "3d", fold=0)
    choose(monkeypatch, bf16=now == "bf16")
    with pytest.raises(TrainingError, match="other arithmetic") as caught:
        train(study, "3d", fold=0)
    found, expected = f'computed_in: "{begun}"', f'computed_in: "{now}", as it is now'
    assert (caught.value.found, caught.value.expected) == (found, expected)
    assert f"delete the folder {study.run('3d', 0)}: the fold then starts" in caught.value.remedy
    assert "undo the change" not in caught.value.remedy
    shutil.rmtree(study.run("3d", 0))  # as the remedy says
    train(study, "3d", fold=0)
    assert read_card(study, "3d", 0).training_key["computed_in"] == now


def test_a_finished_fold_is_finished_on_any_device(tmp_path, monkeypatch):
    training = {"epochs": 1, "precision": "auto"}
    study = small_study(tmp_path, models={"3d": model_of("3d", training=training)})
    choose(monkeypatch, bf16=True)
    train(study, "3d")
    assert read_card(study, "3d", 0).training_key["computed_in"] == "bf16"
    choose(monkeypatch, bf16=False)
    assert [fold.seconds for fold in train(study, "3d").folds] == [0.0, 0.0]


@pytest.mark.parametrize("run", [train, train_folds])
@pytest.mark.parametrize("bf16", [True, False])
def test_bf16_on_a_processor_prints_one_note_a_run(tmp_path, monkeypatch, capsys, bf16, run):
    study = small_study(tmp_path, models={"3d": model_of("3d", training={"epochs": 1})})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    choose(monkeypatch, bf16=bf16)
    assert len(run(study, "3d").folds) == 2
    notes = [line for line in capsys.readouterr().err.splitlines() if line.startswith("note:")]
    assert len(notes) == bf16
    assert all("training.precision: fp32" in note for note in notes)
    train(study, "3d", dry_run=True, ranks=Ranks(rank=1, count=2))
    assert "note:" not in capsys.readouterr().err


def interrupt(*_):
    raise KeyboardInterrupt


def test_each_patient_s_three_images_are_all_trained_on(tmp_path, monkeypatch):
    study = small_study(
        tmp_path, models={"2d": model_of("2d", training={"epochs": 1})}, size=16, patients=12
    )
    seen = []
    real = epochs.plan_fold_epoch

    def spy(ours, epoch):
        plan = real(ours, epoch)
        seen.append((plan.order, ours.rows("train")))
        return plan

    monkeypatch.setattr(epochs, "plan_fold_epoch", spy)
    train(study, "2d")
    for order, rows in seen:
        assert sorted(order) == sorted(3 * row + view for row in rows for view in range(3))
    table = read_predictions(study.predictions_csv("2d"), CLASSES)
    parts = table[table["view"] != ""].groupby(["case_id", "fold", "split"])["p_malignant"].mean()
    own = table[table["view"] == ""].set_index(["case_id", "fold", "split"])["p_malignant"]
    assert set(table["view"]) == {"axial", "coronal", "sagittal", ""}
    assert np.allclose(parts.sort_index(), own.sort_index())


def test_a_difference_is_learned(tmp_path):
    model = model_of("3d", training={"epochs": 6, "batch_size": 6})
    study = small_study(tmp_path, models={"3d": model}, patients=40, external=0)
    train(study, "3d")
    own = case_probabilities(
        read_predictions(study.predictions_csv("3d"), CLASSES), "test", CLASSES
    )
    assert roc_auc_score(own["label"] == "malignant", own["p_malignant"]) > 0.9


def test_shuffled_labels_are_not_learned(tmp_path):
    """Out-of-fold AUC over several shuffles lies around one half: a leak would lift their mean."""
    aucs = []
    for seed in range(6):
        model = model_of("3d", training={"epochs": 3, "batch_size": 6, "seed": seed})
        study = small_study(tmp_path / str(seed), models={"3d": model}, patients=40, external=0)
        cohort = pd.read_csv(study.cohort_csv)
        cohort["label"] = np.random.default_rng(seed).permutation(cohort["label"])
        cohort.to_csv(study.cohort_csv, index=False)
        train(study, "3d")
        own = read_predictions(study.predictions_csv("3d"), CLASSES).query("split == 'test'")
        for fold in range(2):
            part = own[own["fold"] == fold]
            aucs.append(roc_auc_score(part["label"] == "malignant", part["p_malignant"]))
    # SD of an AUC of 10 against 10 under chance: sqrt((10 + 10 + 1) / (12 * 10 * 10)) = 0.132.
    spread = 0.132 / math.sqrt(len(aucs))
    assert abs(np.mean(aucs) - 0.5) < 3 * spread


def test_three_classes(tmp_path):
    classes = ("benign", "intermediate", "malignant")
    model = model_of("3d", training={"epochs": 12, "batch_size": 5})
    study = small_study(
        tmp_path, models={"3d": model}, classes=classes, patients=60, external=0, contrast=400
    )
    summary = train(study, "3d")
    table = case_probabilities(read_predictions(summary.predictions, classes), "test", classes)
    found = table[[f"p_{name}" for name in classes]].to_numpy()
    truth = [classes.index(label) for label in table["label"]]
    assert roc_auc_score(truth, found, multi_class="ovr") > 0.8
    for fold in summary.folds:
        own = read_predictions(summary.predictions, classes).query(
            "split == 'val' and fold == @fold.fold"
        )
        truth = [classes.index(label) for label in own["label"]]
        probabilities = own[[f"p_{name}" for name in classes]].to_numpy()
        each = [roc_auc_score(np.array(truth) == k, probabilities[:, k]) for k in range(3)]
        assert fold.score == pytest.approx(np.mean(each))
