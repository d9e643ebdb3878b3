"""Crops agree with MONAI's own resampling, and their inverse with the patient."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch
from monai.transforms import Compose, Invertd, RandFlipd, SpatialResample

from ctbone.grid import Grid
from ctbone.transforms import CropLesiond, LesionViewsd, LoadHounsfieldd
from tests.preprocessing.scans import affine, ball, grids, save, world

SHAPE = (44, 40, 36)
CENTER = np.array([12.0, -34.0, 560.0])
OBLIQUE = Grid(SHAPE, affine((14, -9, 165), (0.9, 1.3, 2.0), (1, -1, 1), shape=SHAPE))
SHIFT = np.array([4.0, -3.0, 5.0])
"""Of the marker from the lesion's centre towards R, A and S, in mm: no flip leaves it in place."""


def tensor(values, grid):
    return MetaTensor(torch.from_numpy(values)[None], affine=torch.from_numpy(grid.affine))


def wave(grid):
    """HU that vary over 60 mm and more: smooth beside every voxel here."""
    x, y, z = np.moveaxis(world(grid) - CENTER, -1, 0)
    return (300 * np.sin(x / 11) * np.cos(y / 13) + 200 * np.sin(z / 17)).astype(np.float32)


def item(grid, radius=8.0):
    drawn = ball(grid, radius).astype(np.uint8)
    return {"image": tensor(wave(grid), grid), "mask": tensor(drawn, grid)}


@settings(max_examples=10, deadline=None)
@given(grid=grids(SHAPE, finest=0.9, coarsest=2.0))
def test_agrees_with_spatial_resample_on_the_same_grid(grid):
    """Linear, from coarser voxels to finer ones, so that neither chain smooths.

    Tolerance: 0.5 HU is rounding to int16. MONAI may compute coordinates in float32 over [−1, 1],
    which moves a sample by about 1e-5 of the volume's 44 voxels: below 0.1 HU at this wave's slope.
    """
    made = CropLesiond(size=24, spacing=0.8, margin=0)(item(grid, radius=7.0))
    cube = made["image"]
    theirs = SpatialResample(mode="bilinear", padding_mode="border", align_corners=True)(
        tensor(wave(grid), grid).to(torch.float64),
        dst_affine=cube.affine,
        spatial_size=tuple(cube.shape[1:]),
    )
    np.testing.assert_allclose(theirs.affine, cube.affine, atol=1e-9)
    index = grid.to_index(world(Grid((24,) * 3, cube.affine.numpy())).reshape(-1, 3))
    inside = ((index >= 0) & (index <= np.array(SHAPE) - 1)).all(axis=1).reshape((24,) * 3)
    assert inside.mean() > 0.8
    gap = np.abs(cube.numpy()[0] - theirs.numpy()[0])[inside]
    assert gap.max() <= 0.6


@pytest.mark.parametrize("radius", [8.0, 14.0])
def test_the_lesion_keeps_its_volume_and_place(radius):
    made = CropLesiond(size=64, spacing=0.7)(item(OBLIQUE, radius))
    mask = made["mask"]
    grid = Grid((64,) * 3, mask.affine.numpy())
    points = grid.to_world(np.argwhere(mask.numpy()[0]).astype(float))
    np.testing.assert_allclose(points.mean(axis=0), CENTER, atol=0.3)
    volume = len(points) * grid.spacing[0] ** 3 / 1000
    assert volume == pytest.approx(made["image"].meta["lesion_ml"], rel=0.05)


def test_patient_left_stays_left():
    """A bright ball to the patient's right lies at the high end of the first axis of every crop."""
    for flips in ((1, 1, 1), (-1, 1, 1), (1, -1, -1)):
        grid = Grid(SHAPE, affine((0, 0, 0), (1.0, 1.2, 1.5), flips, shape=SHAPE))
        bright = 1000 * ball(grid, 4.0, CENTER + np.array([10, 0, 0])).astype(np.float32)
        one = {**item(grid, 6.0), "image": tensor(bright, grid)}
        made = CropLesiond(size=40)(LesionViewsd(size=40)(one))
        for name in ("image", "image_axial", "image_coronal"):
            values = made[name].numpy()[0]
            assert values[20:].max() > 900, name
            assert values[:20].max() < 100, name
        assert made["image_axial"].meta["axes"] == ("left_right", "anterior_posterior")


@settings(max_examples=8, deadline=None)
@given(grid=grids(SHAPE, finest=0.8, coarsest=2.0))
def test_inverse_puts_a_heat_map_where_it_was(grid):
    cube = CropLesiond(size=48, spacing=1.0, margin=4)
    made = cube(item(grid))
    place = Grid((48,) * 3, made["image"].affine.numpy())
    distance = np.linalg.norm(world(place) - CENTER - SHIFT, axis=-1)
    heat = np.exp(-(distance**2) / (2 * 4.0**2)).astype(np.float32)
    pred = MetaTensor(torch.from_numpy(np.stack([heat, 2 * heat])), meta=made["image"].meta)
    pred.applied_operations = made["image"].applied_operations
    back = cube.inverse({"image": pred, "mask": made["mask"]})
    assert tuple(back["image"].shape) == (2, *SHAPE)
    np.testing.assert_allclose(back["image"].affine, grid.affine, atol=1e-9)
    values = back["image"].numpy()
    np.testing.assert_allclose(values[1], 2 * values[0], rtol=1e-5)
    points = world(grid).reshape(-1, 3)
    found = (values[0].reshape(-1, 1) * points).sum(axis=0) / values[0].sum()
    np.testing.assert_allclose(found, CENTER + SHIFT, atol=0.5)


def test_inverse_puts_the_mask_back():
    one = item(OBLIQUE)
    cube = CropLesiond(size=64, spacing=0.6)
    back = cube.inverse(cube(one))["mask"]
    ours, theirs = back.numpy()[0] > 0, one["mask"].numpy()[0] > 0
    overlap = 2 * (ours & theirs).sum() / (ours.sum() + theirs.sum())
    assert overlap > 0.97
    assert back.dtype == torch.uint8


def test_inverse_puts_an_image_back_on_its_plane():
    one = item(OBLIQUE)
    views = LesionViewsd(size=64)
    made = views(one)
    back = views.inverse(made)["mask_axial"].numpy()[0]
    points = world(OBLIQUE)[back > 0]
    plane = float(made["image_axial"].affine[2, 3])
    thickness = np.abs(OBLIQUE.affine[2, :3]).sum()
    assert len(points) > 20
    assert np.abs(points[:, 2] - plane).max() <= thickness / 2 + 1e-6
    assert np.linalg.norm(points[:, :2] - CENTER[:2], axis=1).max() < 8.0 + 2.0


@settings(
    max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(grid=grids(SHAPE, finest=0.9, coarsest=1.8))
def test_invertd_after_a_loader_with_random_flips(tmp_path, grid):
    """A prediction on an augmented crop of a part of the volume comes back on the whole volume."""
    paths = {
        "image": save(tmp_path / "ct.nii.gz", np.rint(wave(grid)).astype(np.int16), grid.affine),
        "mask": save(tmp_path / "m.nii.gz", ball(grid, 8.0).astype(np.uint8), grid.affine),
    }
    views, cube = LesionViewsd(size=40), CropLesiond(size=40)
    load = LoadHounsfieldd("image", mask_key="mask", near=[views, cube])
    flipped = ["image", "mask", "image_axial", "mask_axial"]
    flip = RandFlipd(flipped, prob=1.0, spatial_axis=0)
    chain = Compose([load, views, cube, flip])
    (batch,) = DataLoader(Dataset([paths], chain), batch_size=1)
    batch["pred"], batch["pred_axial"] = batch["mask"].float(), batch["mask_axial"].float()
    (one,) = decollate_batch(batch)
    lesion = ball(grid, 8.0)
    for nearest in (True, False):
        invert = Invertd(
            ["pred", "pred_axial"],
            transform=chain,
            orig_keys=["image", "image_axial"],
            nearest_interp=nearest,
        )
        back = invert(dict(one))
        for key, least in (("pred", 0.9), ("pred_axial", 0.0)):
            assert tuple(back[key].shape) == (1, *SHAPE)
            np.testing.assert_allclose(back[key].affine, grid.affine, atol=1e-4)
            ours = back[key].numpy()[0] >= 0.5
            assert 2 * (ours & lesion).sum() / (ours.sum() + lesion.sum()) > least
            assert (ours & lesion).sum() / ours.sum() > 0.9
