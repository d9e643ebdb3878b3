from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.grid import Grid
from ctbone.hounsfield import AIR
from ctbone.nifti import open_nifti, write_nifti
from ctbone.resample import Slab, read_slab, sample, sample_mask
from tests.preprocessing.scans import affine, ball, grids, world

CENTER = np.array([12.0, -34.0, 560.0])
SLOPE = np.array([3.0, -2.0, 1.5])


def whole(voxels, grid):
    return Slab(voxels, np.zeros(3, int), grid)


def cube(size, spacing):
    return Grid((size,) * 3, affine(spacing=(spacing,) * 3, shape=(size,) * 3))


def by_itk(voxels, grid, target, how):
    image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0).astype(np.float64))
    _place(image, grid)
    resampler = sitk.ResampleImageFilter()
    resampler.SetInterpolator(how)
    resampler.SetDefaultPixelValue(AIR)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ target.affine
    resampler.SetSize(target.shape)
    resampler.SetOutputSpacing(target.spacing)
    resampler.SetOutputOrigin(lps[:3, 3].tolist())
    resampler.SetOutputDirection((lps[:3, :3] / target.spacing).ravel().tolist())
    return sitk.GetArrayFromImage(resampler.Execute(image)).transpose(2, 1, 0)


def _place(image, grid):
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ grid.affine
    image.SetSpacing(grid.spacing)
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection((lps[:3, :3] / grid.spacing).ravel().tolist())


@settings(max_examples=40, deadline=None)
@given(grid=grids(), interpolation=st.sampled_from(["linear", "cubic"]))
def test_a_ramp_in_mm_stays_a_ramp(grid, interpolation):
    voxels = (world(grid) - CENTER) @ SLOPE
    # A cube so small that neither smoothing nor the spline meets the border of the scan.
    target = Grid((5, 6, 7), affine(spacing=(min(grid.spacing) * 0.4,) * 3, shape=(5, 6, 7)))
    expected = (world(target) - CENTER) @ SLOPE
    np.testing.assert_allclose(
        sample(whole(voxels, grid), target, interpolation), expected, atol=1e-3
    )


@settings(max_examples=20, deadline=None)
@given(grid=grids(finest=1.0, coarsest=2.0))
def test_a_ramp_survives_the_smoothing_of_a_shrink(grid):
    voxels = (world(grid) - CENTER) @ SLOPE
    target = Grid((3, 3, 3), affine(spacing=(max(grid.spacing) * 1.3,) * 3, shape=(3, 3, 3)))
    expected = (world(target) - CENTER) @ SLOPE
    np.testing.assert_allclose(sample(whole(voxels, grid), target), expected, atol=1e-3)


@settings(max_examples=20, deadline=None)
@given(
    grid=grids(),
    interpolation=st.sampled_from([("linear", sitk.sitkLinear), ("cubic", sitk.sitkBSpline)]),
)
def test_values_equal_those_of_itk_on_the_same_grid(grid, interpolation):
    ours, theirs = interpolation
    voxels = np.random.default_rng(0).normal(0, 300, grid.shape).astype(np.float32)
    target = cube(14, min(grid.spacing) * 0.6)
    np.testing.assert_allclose(
        sample(whole(voxels, grid), target, ours), by_itk(voxels, grid, target, theirs), atol=0.05
    )


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("interpolation", ["linear", "cubic"])
def test_the_slab_that_is_read_suffices(tmp_path, suffix, interpolation):
    grid = Grid((50, 60, 70), affine((5, -10, 80), (0.7, 0.8, 1.5), (-1, 1, 1), shape=(50, 60, 70)))
    voxels = np.random.default_rng(1).integers(-1000, 1500, grid.shape).astype(np.int16)
    write_nifti(tmp_path / f"v{suffix}", voxels, grid.affine)
    target = cube(12, 1.1)
    slab = read_slab(open_nifti(tmp_path / f"v{suffix}"), [target], interpolation)
    assert slab.voxels.size < voxels.size
    stored = open_nifti(tmp_path / f"v{suffix}").grid  # NIfTI keeps the affine in float32
    whole_volume = sample(whole(voxels, stored), target, interpolation)
    np.testing.assert_allclose(sample(slab, target, interpolation), whole_volume, atol=0.01)


def test_outside_the_scan_is_air_and_its_outermost_voxels_are_not():
    grid = Grid((4, 4, 4), np.diag([2.0, 2.0, 2.0, 1.0]))
    target = Grid(
        (8, 1, 1), np.array([[1.0, 0, 0, -2.5], [0, 1, 0, 2], [0, 0, 1, 2], [0, 0, 0, 1]])
    )
    values = sample(whole(np.full((4, 4, 4), 50.0), grid), target).ravel()
    np.testing.assert_array_equal(values, [AIR, AIR, 50, 50, 50, 50, 50, 50])
    far = Grid((2, 2, 2), affine(center=(900, 0, 0), shape=(2, 2, 2)))
    assert (sample(whole(np.zeros((4, 4, 4)), grid), far) == AIR).all()


def test_a_grid_that_ends_on_the_scans_outermost_centres_is_filled():
    grid = Grid((9, 9, 9), affine((0, 0, 180), (0.7, 0.7, 0.7), shape=(9, 9, 9)))
    voxels = np.random.default_rng(0).normal(size=(9, 9, 9))
    np.testing.assert_allclose(sample(whole(voxels, grid), grid), voxels, atol=1e-5)


def test_shrinking_does_not_alias():
    grid = Grid((60, 60, 60), affine(spacing=(0.5,) * 3, shape=(60,) * 3))
    stripes = np.broadcast_to(
        np.where(np.arange(60) % 2, 500.0, -500.0)[:, None, None], (60, 60, 60)
    )
    values = sample(whole(stripes, grid), cube(10, 2.1))
    assert np.abs(values).max() < 5
    flat = sample(whole(np.full((60, 60, 60), 123.0), grid), cube(10, 2.1))
    np.testing.assert_allclose(flat, 123, atol=1e-3)


@settings(max_examples=15, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-180, 180)] * 3),
    spacing=st.sampled_from([(0.7, 0.7, 1.0), (1.0, 0.8, 2.0)]),
)
def test_a_sphere_keeps_its_volume(angles, spacing):
    shape = tuple(int(60 / mm) for mm in spacing)
    grid = Grid(shape, affine(angles, spacing, shape=shape))
    target = cube(56, 1.0)
    values = sample(whole(np.where(ball(grid, 20.0), 1000.0, 0.0), grid), target) / 1000
    inside = values[values > -0.5].sum(
        dtype=np.float64
    )  # corners of the cube are outside the turned scan
    assert inside == pytest.approx(4 / 3 * np.pi * 20**3, rel=0.01)


@pytest.mark.parametrize(
    "angles", [(0, 0, 0), (0, 0, 7), (11, 23, 31), (90, 0, 180), (77, -50, 160)]
)
def test_a_mask_keeps_its_volume(angles):
    # Point samples of a binary set alias: at 45° and 0.7 mm onto 1 mm this costs 2 %.
    grid = Grid((85, 85, 60), affine(angles, (0.7, 0.7, 1.0), shape=(85, 85, 60)))
    drawn = ball(grid, 20.0)
    kept = np.count_nonzero(sample_mask(drawn, grid, cube(56, 1.0)))
    assert kept == pytest.approx(np.count_nonzero(drawn) * 0.49, rel=0.01)


class Waves:
    """A volume known everywhere: cosines of random direction with a CT's spectrum, and noise."""

    def __init__(self, seed, noise):
        rng = np.random.default_rng(seed)
        cycles = rng.uniform(0.01, 0.9, 120)
        directions = rng.normal(size=(120, 3))
        self.vectors = (
            directions / np.linalg.norm(directions, axis=1, keepdims=True) * cycles[:, None]
        )
        self.heights = 100 / (1 + (cycles / 0.1) ** 2) + noise
        self.phases = rng.uniform(0, 2 * np.pi, 120)

    def on(self, grid, keep=slice(None)):
        points = (world(grid) - CENTER).reshape(-1, 3)
        angles = 2 * np.pi * points @ self.vectors[keep].T + self.phases[keep]
        return (np.cos(angles) @ self.heights[keep]).reshape(grid.shape)

    def held_by(self, grid):
        """Which waves a grid can hold: less than half a cycle a voxel along each axis."""
        return (np.abs(self.vectors @ grid.affine[:3, :3]) < 0.5).all(axis=1)


@pytest.mark.parametrize(
    ("spacing", "step", "angles"),
    [((0.5, 0.5, 0.5), 1.5, (12, -25, 40)), ((0.5, 0.6, 1.0), 1.6, (0, 0, 0))],
)
def test_shrinking_comes_near_to_the_ideal_filter(spacing, step, angles):
    """The waves below the coarse grid's Nyquist limit are what ideal (sinc) resampling gives."""
    shape = tuple(int(26 / mm) for mm in spacing)
    grid, target = Grid(shape, affine(angles, spacing, shape=shape)), cube(8, step)
    waves = Waves(seed=3, noise=8)
    voxels, ideal = waves.on(grid), waves.on(target, waves.held_by(target))
    ours = np.std(sample(whole(voxels, grid), target) - ideal)
    plain = np.std(by_itk(voxels, grid, target, sitk.sitkLinear) - ideal)
    between = Grid((24, 24, 24), affine(spacing=(1.0,) * 3, shape=(24,) * 3))
    once = by_itk(voxels, grid, between, sitk.sitkLinear)
    twice = np.std(by_itk(once, between, target, sitk.sitkLinear) - ideal)
    assert ours < 0.85 * plain, (
        "one interpolation without a filter folds the short waves into the long ones"
    )
    assert ours < 1.05 * twice, "a grid between the two is a filter too, though of a chance width"


def test_long_waves_pass_and_those_that_the_grid_cannot_hold_do_not():
    grid, target = Grid((52,) * 3, affine((12, -25, 40), (0.5,) * 3, shape=(52,) * 3)), cube(8, 1.5)
    waves = Waves(seed=4, noise=8)
    long = np.linalg.norm(waves.vectors, axis=1) < 0.08
    kept = sample(whole(waves.on(grid, long), grid), target)
    assert np.std(kept - waves.on(target, long)) < 0.1 * np.std(kept)
    short = np.linalg.norm(waves.vectors, axis=1) > 0.6
    left = sample(whole(waves.on(grid, short), grid), target)
    assert np.std(left) < 0.1 * np.std(waves.on(target, short))
