"""Control networks and permuted labels, on tiny crops."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import torch

import ctbone as ct
from ctbone.auditing import controls
from ctbone.auditing.shortcuts import Task
from ctbone.cohort import read_cohort
from ctbone.study import Study
from tests.models.small_study import model_of, small_study


@pytest.fixture
def study(tmp_path, monkeypatch) -> Study:
    """Balls whose HU tells the class, the mask around each, scans whose kVp tells it, too."""
    monkeypatch.setattr(controls, "_EPOCHS", 3)
    monkeypatch.setattr(controls, "_EPOCHS_PERMUTED", 3)
    monkeypatch.setattr(controls, "_SMALL", controls._SMALLER)
    study = small_study(tmp_path / "study", models={"3d": model_of("3d")}, patients=32)
    (study.root / "crops" / "3d_mask").mkdir()
    (study.root / "nifti").mkdir()
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[2:6, 2:6, 2:6] = 1
    for case in read_cohort(study):
        nibabel.Nifti1Image(mask, np.eye(4)).to_filename(study.crop_mask(case.case_id, "3d"))
        kvp = 140.0 if case.label == "malignant" else 100.0
        record = {"from": "dicom", "scan": {"kvp": kvp}}
        (study.root / "nifti" / f"{case.case_id}.json").write_text(json.dumps(record))
    return study


def test_controls_and_permutations_are_rows_of_the_audit(study, capsys):
    found = ct.audit(study, controls=True, permute=3)
    rows = {one.subject: one for one in found.findings if one.check in ("controls", "permutation")}
    scan = rows["the acquisition's values only"]
    assert (scan.state, scan.value.value) == ("problem", 1.0)
    assert rows["the lesion's surroundings only"].value.low is not None
    whole = rows["a small network on the crops"]
    assert whole.p in (0.25, 0.5, 0.75, 1.0)
    assert "3 trainings" in whole.verdict
    noted = capsys.readouterr().err
    assert "note: 25 small networks, about" in noted
    assert noted.index("note:") < noted.index("Controls")


def test_the_surroundings_hold_no_voxel_of_the_lesion(study):
    cases = read_cohort(study).internal
    images = controls._load(study, cases, masks=True)
    assert (images.around == 0).all(dim=1).any()  # air is the lower end of the window
    assert not torch.equal(images.around, images.whole)
    # The dilation of 5 mm of a 4 mm cube reaches the edges of this 8 mm crop.
    assert images.hole == pytest.approx(np.ones((len(cases), 3)))


def test_permuted_labels_stay_together_by_patient(study):
    labels = np.array([0, 1, 0, 1, 1, 0, 1, 0])
    patients = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    task = Task(labels, patients, folds=patients % 2, classes=2, positive=1)
    drawn = [controls.permuted(task, seed).labels for seed in range(50)]
    assert all(sorted(one) == sorted(labels) for one in drawn)
    assert all({tuple(one[:2]), tuple(one[2:4])} == {(0, 1)} for one in drawn)
    assert len({tuple(one) for one in drawn}) == 6  # two of four single patients are positive


def test_without_crops_the_controls_say_what_is_missing(tmp_path):
    study = small_study(tmp_path / "study", models={"3d": model_of("3d")})
    found = ct.audit(study, controls=True)
    (images,) = [one for one in found.findings if one.subject == "images"]
    assert (images.state, images.remedy[:22]) == ("open", "run 'ctbone preprocess")
