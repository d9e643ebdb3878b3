"""The transforms in other people's MONAI pipelines give what ``ctbone preprocess`` writes."""

from __future__ import annotations

from dataclasses import asdict, replace

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.data import CacheDataset, DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, EnsureChannelFirstd, LoadImaged, RandFlipd

from ctbone.config import PreprocessSettings
from ctbone.cropping.crop_voxels import make_crops
from ctbone.errors import CtboneError, PreprocessError
from ctbone.grid import Grid
from ctbone.phantom.dicom_series import SeriesHeader, write_series
from ctbone.study import Study
from ctbone.transforms import (
    CropLesiond,
    HounsfieldWindowd,
    LesionViewsd,
    LoadHounsfieldd,
    crop_case,
)
from ctbone.workflow import preprocess
from tests.preprocessing.scans import affine, ball, case_of, save, world

SHAPE = (60, 50, 40)
CENTER = (12.0, -34.0, 560.0)
VIEWS = ("axial", "coronal", "sagittal")
SETTINGS = "name: test\npreprocess:\n  crop_3d: {size: 32}\n  images_2d: {size: 48}\n"


def scan(angles=(0, 0, 180), spacing=(1.0, 1.2, 1.5)):
    """An oblique or straight scan whose HU say where they are, and its lesion."""
    grid = Grid(SHAPE, affine(angles, spacing, shape=SHAPE))
    x, y, z = np.moveaxis(world(grid) - CENTER, -1, 0)
    drawn = ball(grid, 8.0)
    return np.where(drawn, 300, 10 * x + 4 * y - 6 * z), drawn, grid


@pytest.fixture
def written(study):
    """Two cases on different grids, preprocessed by the command."""
    rows = []
    for case_id, angles in (("A", (0, 0, 180)), ("B", (12, -7, 160))):
        hu, drawn, grid = scan(angles)
        case = case_of(study, hu, grid, drawn, case_id=case_id)
        image = study.root / "images" / f"{case_id}.nii.gz"
        image.parent.mkdir(exist_ok=True)
        study.nifti(case_id).rename(image)
        rows.append(f"{case_id},{case_id},benign,internal,{image},{case.mask}")
    table = "\n".join(["case_id,patient_id,label,cohort,image,mask", *rows])
    study.cohort_csv.write_text(table + "\n")
    study.settings_file.write_text(SETTINGS)
    opened = Study.open(study.root)
    assert not [outcome.error for outcome in preprocess(opened, workers=1) if outcome.error]
    items = [
        dict(zip(("image", "mask", "case_id"), (*row.split(",")[4:], row[0]), strict=True))
        for row in rows
    ]
    return opened, items


def pipeline(*more, part=True):
    views, cube = LesionViewsd(size=48), CropLesiond(size=32)
    load = LoadHounsfieldd("image", mask_key="mask", near=[views, cube] if part else [])
    return Compose([load, views, cube, *more])


def voxels(path):
    return np.asarray(nib.load(path).dataobj)


def assert_as_written(study, case_id, item):
    crop = nib.load(study.crop(case_id, "3d"))
    np.testing.assert_array_equal(item["image"][0], np.asarray(crop.dataobj))
    np.testing.assert_array_equal(item["mask"][0], voxels(study.crop_mask(case_id, "3d")))
    np.testing.assert_allclose(item["image"].affine, crop.affine, atol=1e-4)
    images, masks = (
        voxels(path) for path in (study.crop(case_id, "2d"), study.crop_mask(case_id, "2d"))
    )
    for k, name in enumerate(VIEWS):
        np.testing.assert_array_equal(item[f"image_{name}"][0], images[:, :, k])
        np.testing.assert_array_equal(item[f"mask_{name}"][0], masks[:, :, k])


@pytest.mark.parametrize("part", [True, False], ids=["part of the volume", "whole volume"])
def test_a_dataset_gives_what_the_command_wrote(written, part):
    study, items = written
    for item, made in zip(items, Dataset(items, pipeline(part=part)), strict=True):
        assert_as_written(study, item["case_id"], made)
        assert (made["image"].dtype, made["mask"].dtype) == (torch.int16, torch.uint8)


def test_a_cached_dataset_in_a_loader_with_workers(written):
    study, items = written
    cached = CacheDataset(items, pipeline(), num_workers=2, progress=False)
    loader = DataLoader(cached, batch_size=2, num_workers=2)
    (batch,) = loader
    assert batch["image"].shape == (2, 1, 32, 32, 32)
    for item, made in zip(items, decollate_batch(batch), strict=True):
        assert_as_written(study, item["case_id"], made)


def test_images_from_monai_s_own_loader(written):
    """LoadImaged reads the same geometry, in float32 and with MONAI's metadata."""
    study, items = written
    keys = ["image", "mask"]
    chain = Compose(
        [LoadImaged(keys), EnsureChannelFirstd(keys), LesionViewsd(size=48), CropLesiond(size=32)]
    )
    for item in items:
        assert_as_written(study, item["case_id"], chain(item))


def test_a_dicom_folder(tmp_path):
    """Loaded from DICOM, whole or in part, a lesion gives the crop of its NIfTI."""
    hu, drawn, grid = scan()
    hu = np.rint(hu).astype(np.int16)
    write_series(tmp_path / "dicom", hu, grid.affine, SeriesHeader("A", seed=1))
    image = save(tmp_path / "ct.nii.gz", hu, grid.affine)
    mask = save(tmp_path / "mask.nii.gz", drawn.astype(np.uint8), grid.affine)
    loaded = LoadHounsfieldd("image")({"image": tmp_path / "dicom"})["image"]
    at = loaded.affine.numpy() @ [10, 20, 30, 1]
    index = np.rint(grid.to_index(at[None, :3])[0]).astype(int)
    assert loaded[0, 10, 20, 30] == hu[tuple(index)]
    expected = pipeline()({"image": image, "mask": mask})
    for part in (True, False):
        made = pipeline(part=part)({"image": tmp_path / "dicom", "mask": mask})
        np.testing.assert_array_equal(made["mask"], expected["mask"])
        gap = np.abs(made["image"].numpy().astype(int) - expected["image"].numpy())
        assert gap.max() <= 1, (
            "slices are stored in another order: rounding may fall on either side"
        )


@pytest.mark.parametrize("angles", [(0, 0, 180), (12, -7, 160)])
@pytest.mark.parametrize("views", ["planes", "neighbours"])
def test_the_pipeline_of_the_command_equals_the_numeric_core(study, angles, views):
    hu, drawn, grid = scan(angles)
    drawn[2:4, 2:4, 2:4] = True
    case = replace(case_of(study, hu, grid, drawn), lesion=1)
    settings = PreprocessSettings.model_validate(
        {"crop_3d": {"size": 40, "interpolation": "cubic"}, "images_2d": {"views": views}}
    )
    expected = make_crops(study.nifti("P1"), case, settings)
    made = crop_case(study.nifti("P1"), case, settings)
    assert plain(asdict(made)) == plain(asdict(expected))
    assert made.components.taken == 1
    assert len(made.components.volumes_ml) == 2


def plain(value):
    """Nested values that compare by ``==``, arrays with their type."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(part) for part in value]
    return (str(value.dtype), value.tolist()) if isinstance(value, np.ndarray) else value


def test_only_the_part_around_the_lesion_is_read(written):
    _, items = written
    cube = CropLesiond(size=20, margin=0)
    part = LoadHounsfieldd("image", mask_key="mask", near=[cube])(items[0])["image"]
    whole = LoadHounsfieldd("image")(items[0])["image"]
    assert part.numel() < whole.numel() / 5
    np.testing.assert_array_equal(part.meta["original_affine"], whole.affine)
    assert tuple(part.meta["spatial_shape"]) == tuple(whole.shape[1:])
    start = np.rint((np.linalg.inv(whole.affine.numpy()) @ part.affine.numpy())[:3, 3]).astype(int)
    box = tuple(slice(a, a + n) for a, n in zip(start, part.shape[1:], strict=True))
    np.testing.assert_array_equal(part[0], whole[0][box])


def test_a_part_that_is_too_small_is_refused(written):
    _, items = written
    near = [CropLesiond(size=16, margin=0)]
    item = LoadHounsfieldd("image", mask_key="mask", near=near)(items[0])
    with pytest.raises(PreprocessError, match="does not hold all voxels"):
        CropLesiond(size=64)(item)


def test_a_volume_that_another_transform_flipped_is_taken_as_it_is(written):
    """The affine moves with the voxels, so the crop is the same."""
    study, items = written
    flip = RandFlipd("image", prob=1.0, spatial_axis=0)
    loaded = LoadHounsfieldd("image", mask_key="mask")(items[0])
    made = Compose([flip, CropLesiond(size=32)])(loaded)
    crop = voxels(study.crop("A", "3d"))
    gap = np.abs(made["image"].numpy()[0].astype(int) - crop)
    assert gap.max() <= 1
    np.testing.assert_array_equal(made["mask"][0], voxels(study.crop_mask("A", "3d")))


def test_a_nifti_of_floats_is_rounded_as_the_command_does(tmp_path):
    values = np.full(SHAPE, 40.4, np.float32)
    values[0] = -3024
    path = save(tmp_path / "ct.nii.gz", values, np.eye(4))
    loaded = LoadHounsfieldd("image")({"image": path})["image"]
    assert loaded.dtype == torch.int16
    assert loaded.unique().tolist() == [-1024, 40]
    stored = LoadHounsfieldd("image", round_nifti=False)({"image": path})["image"]
    assert stored.dtype == torch.float32
    assert stored.min() == -3024


def test_windows_become_channels(written):
    _, items = written
    windows = [(400, 1800), (40, 400)]
    names = ["image", *(f"image_{name}" for name in VIEWS)]
    made = pipeline(HounsfieldWindowd(names, windows=windows))(items[0])
    hu = pipeline()(items[0])
    for name in names:
        assert isinstance(made[name], MetaTensor)
        for channel, (center, width) in zip(made[name].numpy(), windows, strict=True):
            expected = (hu[name].numpy()[0] - (center - width / 2)) / width
            np.testing.assert_allclose(channel, expected.clip(0, 1), atol=1e-6)
        np.testing.assert_array_equal(made[name].affine, hu[name].affine)


def test_errors_name_the_case_and_the_remedy(written, tmp_path):
    _, items = written
    empty = save(tmp_path / "empty.nii.gz", np.zeros(SHAPE, np.uint8), scan()[2].affine)
    with pytest.raises(RuntimeError) as caught:
        pipeline()({**items[0], "mask": empty})
    assert isinstance(caught.value.__cause__, CtboneError)
    assert "case A: the mask is empty" in str(caught.value.__cause__)
    with pytest.raises(PreprocessError, match="not a volume of one channel"):
        CropLesiond()({"image": torch.zeros(1, 8, 8, 8), "mask": torch.zeros(1, 8, 8, 8)})
    two = MetaTensor(torch.arange(3 * 4 * 4).reshape(1, 3, 4, 4) % 3, affine=torch.eye(4))
    with pytest.raises(PreprocessError, match="several labels"):
        CropLesiond()({"image": two, "mask": two})
    with pytest.raises(ValueError, match="near needs mask_key"):
        LoadHounsfieldd("image", near=[CropLesiond()])
