from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
from monai.transforms import Compose
from scipy import ndimage

from ctbone.cohort import Case
from ctbone.dicom import convert_case, read_header
from ctbone.preprocessing import check_case, preprocess_case
from ctbone.study import Study, record_of
from ctbone.transforms import CropLesiond, LesionViewsd, LoadHounsfieldd

from .data import real_data


@pytest.fixture
def crop(tmp_path):
    folder = real_data("pelvis_ct")
    (tmp_path / "study.yaml").write_text("name: pelvis\npreprocess:\n  crop_3d: {spacing: 1.6}\n")
    study = Study.open(tmp_path)
    case = Case("P1", "P1", "benign", "internal", folder / "ct.nii.gz", folder / "sacrum.nii.gz")
    assert check_case(study, case, read_header(study, case).grid).fault is None
    convert_case(study, case)
    return study, preprocess_case(study, case), folder


def test_the_transforms_give_the_crop(crop):
    """A MONAI pipeline on the original files, whole or in part, gives the files of the study.

    The study's NIfTI holds its affine in float32, the original in quaternions: a few voxels in ten
    thousand are rounded to the neighbouring HU.
    """
    study, _, folder = crop
    views, cube = LesionViewsd(), CropLesiond(spacing=1.6)
    for near in ([], [views, cube]):
        load = LoadHounsfieldd("image", mask_key="mask", near=near)
        item = {"image": folder / "ct.nii.gz", "mask": folder / "sacrum.nii.gz"}
        made = Compose([load, views, cube])(item)
        written = [np.asarray(nib.load(study.crop("P1", "3d")).dataobj)]
        written += list(np.moveaxis(nib.load(study.crop("P1", "2d")).dataobj, -1, 0))
        keys = ["image", *(f"image_{name}" for name in views.names)]
        for key, expected in zip(keys, written, strict=True):
            gap = np.abs(made[key].numpy()[0].astype(int) - expected)
            assert gap.max() <= 1
            assert (gap > 0).mean() < 1e-3


def test_the_sacrum_fills_the_crop(crop):
    study, summary, folder = crop
    mask = nib.load(folder / "sacrum.nii.gz")
    drawn = mask.get_fdata() > 0
    assert summary.lesion_ml == pytest.approx(drawn.sum() * 27 / 1000)
    assert summary.scale_factor == 1.0
    assert summary.mean_hu == pytest.approx(
        nib.load(folder / "ct.nii.gz").get_fdata()[drawn].mean(), abs=0.01
    )
    image = nib.load(study.crop("P1", "3d"))
    data = np.asarray(image.dataobj)
    # The crop, read back at the sacrum's own voxels through its affine, is the scan there.
    points = nib.affines.apply_affine(np.linalg.inv(image.affine) @ mask.affine, np.argwhere(drawn))
    assert points.min() > 3
    assert points.max() < 92
    got = ndimage.map_coordinates(data.astype(float), points.T, order=1)
    assert np.corrcoef(got, nib.load(folder / "ct.nii.gz").get_fdata()[drawn])[0, 1] > 0.95, (
        "two interpolations at 3 mm blur a little"
    )


def test_the_body_is_the_right_way_round(crop):
    study, _, folder = crop
    image = nib.load(study.crop("P1", "3d"))
    data = np.asarray(image.dataobj)
    inverse = np.linalg.inv(image.affine)

    def center(name):
        other = nib.load(folder / f"{name}.nii.gz")
        return nib.affines.apply_affine(
            inverse @ other.affine, np.argwhere(other.get_fdata() > 0).mean(axis=0)
        )

    assert center("hip_right")[0] > center("sacrum")[0] > center("hip_left")[0]
    assert center("vertebrae_L5")[2] > center("sacrum")[2]
    air = (data < -500).mean(axis=(0, 2))
    assert air[:5].mean() > air[-40:-20].mean(), "behind the sacrum lie the skin and the air"


def test_the_three_images_cut_the_sacrum_at_its_largest(crop):
    study, _, folder = crop
    drawn = nib.load(folder / "sacrum.nii.gz").get_fdata() > 0
    views = json.loads(record_of(study.crop("P1", "2d")).read_text())["views"]
    for view, axes in zip(views, ((0, 1), (0, 2), (1, 2)), strict=True):
        assert view["area_mm2"] == drawn.sum(axis=axes).max() * 9
    images = np.asarray(nib.load(study.crop("P1", "2d")).dataobj)
    assert (images > 150).mean() > 0.05
