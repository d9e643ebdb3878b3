"""The main job on real anatomy: phantom lesions in the sacrum of a real CT, written as DICOM, through every stage."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest

from ctbone import workflow
from ctbone.phantom.appearance import PROFILES
from ctbone.phantom.dicom_series import SeriesHeader, write_series
from ctbone.phantom.lesion import choose_centre, draw_lesion, paint_lesion
from ctbone.predictions import case_probabilities, read_predictions
from ctbone.stats import auc
from ctbone.study import Study, read_table
from tests.conftest import write_rows

from .data import real_data

CLASSES = ("benign", "malignant")
SETTINGS = """
name: real
preprocess:
  crop_3d: {size: 24, spacing: 3.0, margin: 3}
  images_2d: {size: 32}
folds: {count: 3, validation_share: 0.25}
training: {epochs: 6, learning_rate: 0.002, augmentation: {rotation: 0, translation: 0, scale: 0}}
models:
  3d: {dim: 3d, network: densenet, network_options: {block_config: [2, 2], growth_rate: 8, init_features: 8}}
  2d: {dim: 2d, network: resnet10t, weights: none}
"""


def write_real_cohort(root) -> None:
    """Twenty-four internal and six external patients: one real pelvis, thirty lesions, changing orientations."""
    folder = real_data("pelvis_ct")
    ct, sacrum = nib.load(folder / "ct.nii.gz"), nib.load(folder / "sacrum.nii.gz")
    hu, bone = np.asarray(ct.dataobj, dtype=float), np.asarray(sacrum.dataobj) > 0
    assert set(CLASSES) <= set(PROFILES)
    rows, readings = [], ["reader_id,level,session,case_id,score"]
    for number in range(30):
        rng = np.random.default_rng([7, number])
        label, case = CLASSES[number % 2], f"R{number:02d}"
        centre = choose_centre(bone, ct.affine, rng)
        lesion = draw_lesion(rng, label, CLASSES, centre=centre, difficulty=0.0)
        painted, mask = paint_lesion(hu, ct.affine, bone, lesion, rng)
        painted = np.clip(np.rint(painted + rng.normal(0, 12, hu.shape)), -1024, 3071).astype(np.int16)
        # Stored in another order of axes each time, with the affine that says so: the patient is the same.
        flips = [axis for axis in range(3) if rng.random() < 0.5]
        stored, affine = _flipped(painted, ct.affine, flips)
        header = SeriesHeader(case_id=case, seed=number, pixels=("signed 16", "unsigned 12")[number % 2])
        write_series(root / "dicom" / case, stored, affine, header, localizer=number % 3 == 0)
        (root / "masks").mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(mask.astype(np.uint8), ct.affine), root / "masks" / f"{case}.nii.gz")
        cohort = "internal" if number < 24 else "centre2"
        image, drawn = f"dicom/{case}", f"masks/{case}.nii.gz"
        rows.append(
            {"case_id": case, "label": label, "cohort": cohort, "image": image, "mask": drawn, "age": str(30 + number)}
        )
        score = rng.choice([2, 3, 4, 6]) if label == "benign" else rng.choice([4, 6, 7, 8])
        readings.append(f"senior,senior,unaided,{case},{score}")
    write_rows(root / "cohort.csv", rows)
    (root / "scores.csv").write_text("\n".join(readings) + "\n")
    (root / "study.yaml").write_text(SETTINGS)


def _flipped(hu, affine, axes):
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, hu.shape[axis] - 1
    return np.flip(hu, axes) if axes else hu, affine @ flip


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    root = tmp_path_factory.mktemp("real")
    write_real_cohort(root)
    return Study.open(root)


@pytest.mark.slow
def test_real_anatomy_goes_from_dicom_to_report(study):
    assert workflow.check(study) == []
    page = workflow.run(study, scores=study.scores_csv, workers=2)

    summary = read_table(study.preprocess_csv)
    assert set(summary["status"]) == {"ok"}
    original = nib.load(real_data("pelvis_ct") / "ct.nii.gz")
    _same_place(nib.load(study.nifti("R00")), original)

    for model in ("3d", "2d"):
        table = read_predictions(study.predictions(model), CLASSES)
        tested = case_probabilities(table, "test", CLASSES)
        assert sorted(tested["case_id"]) == [f"R{number:02d}" for number in range(24)]
        assert len(case_probabilities(table, "external", CLASSES)) == 6
    tested = case_probabilities(read_predictions(study.predictions("3d"), CLASSES), "test", CLASSES)
    assert auc(tested["label"].to_numpy() == "malignant", tested["p_malignant"].to_numpy()) > 0.8

    metrics = json.loads((study.report / "metrics.json").read_text())
    assert {"3d", "2d", "3d+2d", "3d+reader", "3d+2d+reader"} <= {name.split()[0] for name in metrics["models"]}
    assert "R00" not in page.read_text() or "patient" in page.read_text()


def _same_place(converted, original) -> None:
    """The converted volume shows the real pelvis where it was, whichever way the DICOM was stored."""
    canonical = nib.as_closest_canonical(converted)
    reference = nib.as_closest_canonical(original)
    np.testing.assert_allclose(canonical.affine, reference.affine, atol=1e-3)
    difference = np.asarray(canonical.dataobj, dtype=float) - np.asarray(reference.dataobj, dtype=float)
    assert abs(np.median(difference)) < 2
