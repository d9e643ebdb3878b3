"""All stages on real anatomy: phantom lesions in the sacrum of a real CT, written as DICOM."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from ctbone import workflow
from ctbone.phantom.class_appearance import PROFILES
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
  crop_3d: {size: 32, spacing: 2.0, margin: 3}
  images_2d: {size: 32}
folds: {count: 3, validation_share: 0.25}
training:
  {epochs: 14, batch_size: 6, learning_rate: 0.002,
   augmentation: {rotation: 0, translation: 0, scale: 0}}
evaluation: {bootstrap: 200}
models:
  3d:
    dim: 3d
    network: densenet
    network_options: {block_config: [2, 4, 4], growth_rate: 12, init_features: 16}
  2d: {dim: 2d, network: resnet10t, weights: none}
"""


def write_real_cohort(root) -> dict[str, nib.Nifti1Image]:
    """Thirty internal and six external patients: one real pelvis, 36 lesions, many orientations."""
    folder = real_data("pelvis_ct")
    ct, sacrum = nib.load(folder / "ct.nii.gz"), nib.load(folder / "sacrum.nii.gz")
    hu, bone = np.asarray(ct.dataobj, dtype=float), np.asarray(sacrum.dataobj) > 0
    assert set(CLASSES) <= set(PROFILES)
    painted_ct = {}
    rows, readings = [], ["reader_id,level,session,case_id,score"]
    for number in range(36):
        rng = np.random.default_rng([7, number])
        label, case = CLASSES[number % 2], f"R{number:02d}"
        centre = choose_centre(bone, ct.affine, rng)
        lesion = draw_lesion(rng, label, CLASSES, centre=centre, difficulty=0.0)
        painted, mask = paint_lesion(hu, ct.affine, bone, lesion, rng)
        painted = np.clip(np.rint(painted + rng.normal(0, 12, hu.shape)), -1024, 3071).astype(
            np.int16
        )
        painted_ct[case] = nib.Nifti1Image(painted, ct.affine)
        # Another order of axes each time, with the matching affine: the patient is the same.
        flips = [axis for axis in range(3) if rng.random() < 0.5]
        stored, affine = _flipped(painted, ct.affine, flips)
        header = SeriesHeader(
            case_id=case, seed=number, pixels=("signed 16", "unsigned 12")[number % 2]
        )
        write_series(root / "dicom" / case, stored, affine, header, localizer=number % 3 == 0)
        (root / "masks").mkdir(exist_ok=True)
        nib.save(
            nib.Nifti1Image(mask.astype(np.uint8), ct.affine), root / "masks" / f"{case}.nii.gz"
        )
        cohort = "internal" if number < 30 else "centre2"
        image, drawn = f"dicom/{case}", f"masks/{case}.nii.gz"
        rows.append(
            {
                "case_id": case,
                "label": label,
                "cohort": cohort,
                "image": image,
                "mask": drawn,
                "age": str(30 + number),
            }
        )
        score = rng.choice([2, 3, 4, 6]) if label == "benign" else rng.choice([4, 6, 7, 8])
        readings.append(f"senior,senior,unaided,{case},{score}")
    write_rows(root / "cohort.csv", rows)
    (root / "scores.csv").write_text("\n".join(readings) + "\n")
    (root / "study.yaml").write_text(SETTINGS)
    return painted_ct


def _flipped(hu, affine, axes):
    flip = np.eye(4)
    for axis in axes:
        flip[axis, axis], flip[axis, 3] = -1, hu.shape[axis] - 1
    return np.flip(hu, axes) if axes else hu, affine @ flip


@pytest.mark.slow
def test_real_anatomy_goes_from_dicom_to_report(tmp_path):
    painted_ct = write_real_cohort(tmp_path)
    study = Study.open(tmp_path)
    assert workflow.check(study).problems == []
    page = workflow.run(study, with_reader=study.scores_csv, workers=2).path

    assert set(read_table(study.preprocess_csv)["status"]) == {"ok"}
    for case, painted in painted_ct.items():
        _same_volume(nib.load(study.nifti(case)), painted)
        _crop_lies_on_the_scan(nib.load(study.crop(case, "3d")), painted)

    internal = sorted(case for case in painted_ct if case < "R30")
    for model in ("3d", "2d", "3d+2d", "3d+reader", "3d+2d+reader"):
        path = study.predictions_csv(model) if "+" not in model else study.fusion_csv(model)
        table = read_predictions(path, CLASSES)
        assert sorted(case_probabilities(table, "test", CLASSES)["case_id"]) == internal
        assert len(case_probabilities(table, "external", CLASSES)) == 6
    # Twenty patients teach a network little; the demo's cohort shows that it learns from many.
    tested = read_predictions(study.predictions_csv("3d"), CLASSES).query("split == 'test'")
    folds = [
        auc(rows["label"] == "malignant", rows["p_malignant"]) for _, rows in tested.groupby("fold")
    ]
    assert np.mean(folds) > 0.6

    metrics = json.loads((study.report / "metrics.json").read_text())
    assert {"3d", "2d", "3d+2d", "3d+reader", "3d+2d+reader"} <= set(metrics["models"])
    text = page.read_text()
    assert "PHANTOM" not in text  # the patients' names in the DICOM files


def _same_volume(converted, painted) -> None:
    """The converted volume is the painted one to the voxel, whichever way its DICOM was stored."""
    converted, painted = nib.as_closest_canonical(converted), nib.as_closest_canonical(painted)
    np.testing.assert_allclose(converted.affine, painted.affine, atol=1e-3)
    np.testing.assert_array_equal(np.asarray(converted.dataobj), np.asarray(painted.dataobj))


def _crop_lies_on_the_scan(crop, painted) -> None:
    """The crop correlates with the scan through its affine: a flip or a shift would not."""
    to_scan = np.linalg.inv(painted.affine) @ crop.affine
    places = (
        nib.affines.apply_affine(to_scan, np.moveaxis(np.indices(crop.shape), 0, -1))
        .reshape(-1, 3)
        .T
    )
    expected = ndimage.map_coordinates(
        np.asarray(painted.dataobj, dtype=float), places, order=1, cval=-1024
    )
    assert np.corrcoef(expected, np.asarray(crop.dataobj, dtype=float).ravel())[0, 1] > 0.98
