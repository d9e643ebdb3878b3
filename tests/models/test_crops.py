import json

import nibabel
import numpy as np
import pandas as pd
import pytest

from ctbone.cohort import read_cohort
from ctbone.input_kind import AXES_3D
from ctbone.models import ModelError
from ctbone.models.crops import load_crops, refuse_shared_voxels
from tests.models.small_study import VIEWS, model_of, small_study


@pytest.fixture
def study(tmp_path):
    return small_study(
        tmp_path, models={"3d": model_of("3d"), "2d": model_of("2d")}, patients=10, size=16
    )


def load(study, dim):
    return load_crops(study, read_cohort(study).internal, dim)


def test_a_cube_is_read_as_it_lies_on_disk(study):
    crops = load(study, "3d")
    on_disk = np.asarray(nibabel.load(study.crop("C003", "3d")).dataobj)
    assert (crops.images[3, 0].numpy() == on_disk).all()
    assert (crops.images.shape, crops.views, crops.axes) == ((10, 1, 16, 16, 16), ("",), (AXES_3D,))
    assert (crops.areas == 1).all()


def test_three_images_are_three_views(study):
    crops = load(study, "2d")
    on_disk = np.asarray(nibabel.load(study.crop("C003", "2d")).dataobj)
    record = json.loads(study.crop("C003", "2d").with_suffix(".json").read_text())
    for k, (name, axes) in enumerate(VIEWS):
        assert (crops.images[3, k].numpy() == on_disk[:, :, k]).all()
        assert (crops.views[k], crops.axes[k]) == (name, tuple(axes))
        assert crops.areas[3, k] == record["views"][k]["area_mm2"]


def test_missing_crops_are_listed_with_the_remedy(study):
    study.crop("C002", "3d").unlink()
    study.crop("C007", "3d").unlink()
    with pytest.raises(ModelError, match=r"2 of 10 cases have no 3d crop: C002, C007") as caught:
        load(study, "3d")
    assert "ctbone preprocess" in caught.value.remedy


def test_a_crop_of_another_form_is_refused(study):
    file = study.crop("C004", "3d")
    for wrong in (np.zeros((16, 16, 15), np.int16), np.zeros((16, 16, 16), np.float32)):
        nibabel.Nifti1Image(wrong, np.eye(4)).to_filename(file)
        with pytest.raises(ModelError, match="C004: the crop has another form"):
            load(study, "3d")


@pytest.mark.parametrize("cut", [0, 100, 400])
def test_a_truncated_crop_is_told(study, cut):
    file = study.crop("C004", "3d")
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(ModelError, match="C004: the crop cannot be read"):
        load(study, "3d")


@pytest.mark.parametrize(
    "record",
    [
        "no json",
        "[]",
        '{"views": 3}',
        '{"views": [{"name": "axial"}]}',
        '{"views": [{"name": "axial", "axes": ["left_right", "up"], "area_mm2": 1}]}',
        '{"views": [{"name": "axial", "axes": ["left_right", "anterior_posterior"], '
        '"area_mm2": "NaN"}]}',
    ],
)
def test_a_record_that_makes_no_sense_is_told(study, record):
    study.crop("C000", "2d").with_suffix(".json").write_text(record)
    with pytest.raises(ModelError, match="C000: the record beside the images"):
        load(study, "2d")


def test_views_that_differ_between_cases_are_refused(study):
    file = study.crop("C005", "2d").with_suffix(".json")
    record = json.loads(file.read_text())
    record["views"].reverse()
    file.write_text(json.dumps(record))
    with pytest.raises(ModelError, match="C005: the images are not the same views"):
        load(study, "2d")


def test_the_digest_follows_every_voxel(study):
    before = load(study, "3d")
    assert load(study, "3d").digest == before.digest
    voxels = np.asarray(nibabel.load(study.crop("C006", "3d")).dataobj).copy()
    voxels[1, 2, 3] += 1
    nibabel.Nifti1Image(voxels, np.eye(4)).to_filename(study.crop("C006", "3d"))
    after = load(study, "3d")
    assert after.digest != before.digest
    assert [a == b for a, b in zip(after.digests, before.digests, strict=True)].count(False) == 1


def test_identical_crops_of_two_patients_stop(study):
    study.crop("C008", "3d").write_bytes(study.crop("C001", "3d").read_bytes())
    crops = load(study, "3d")
    with pytest.raises(
        ModelError, match="crops of two patients are identical: cases C001 and C008"
    ):
        refuse_shared_voxels(study, read_cohort(study), crops)
    rows = pd.read_csv(study.cohort_csv)
    rows.loc[rows.case_id == "C008", "patient_id"] = "P001"
    rows.to_csv(study.cohort_csv, index=False)
    refuse_shared_voxels(study, read_cohort(study), crops)


def test_identical_volumes_of_an_internal_and_an_external_patient_stop(study):
    crops, cases = load(study, "3d"), [case.case_id for case in read_cohort(study)]
    hashes = {case: f"hash of {case}" for case in cases}
    table = pd.DataFrame({"case_id": cases, "status": "ok", "voxel_hash": hashes.values()})
    table.to_csv(study.preprocess_csv, index=False)
    refuse_shared_voxels(study, read_cohort(study), crops)
    table.loc[table.case_id == "C011", "voxel_hash"] = hashes["C002"]
    table.to_csv(study.preprocess_csv, index=False)
    with pytest.raises(
        ModelError, match="volumes of two patients are identical: cases C002 and C011"
    ):
        refuse_shared_voxels(study, read_cohort(study), crops)
    table["voxel_hash"] = ""  # failed cases have none
    table.to_csv(study.preprocess_csv, index=False)
    refuse_shared_voxels(study, read_cohort(study), crops)
