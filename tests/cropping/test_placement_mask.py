from __future__ import annotations

import hashlib
import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.cropping.placement import mask_on
from ctbone.grid import Grid
from ctbone.masks.mask import Mask
from ctbone.preprocessing import preprocess_case
from ctbone.study import record_of
from tests.preprocessing.scans import affine, ball, case_of, grids, world

SHAPE = (60, 50, 40)
CENTER = (12.0, -34.0, 560.0)
GRID = Grid(SHAPE, affine((10, 0, 180), (1.0, 1.2, 1.5), shape=SHAPE))


def target(size=60, spacing=1.0, shift=0.0):
    matrix = affine(spacing=(spacing,) * 3, shape=(size,) * 3)
    matrix[:3, 3] += shift
    return Grid((size,) * 3, matrix)


@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_every_crop_has_its_mask_beside_it(study, dim):
    drawn = ball(GRID, 9.0)
    preprocess_case(study, case_of(study, np.where(drawn, 800, -100), GRID, drawn))
    crop, mask = nib.load(study.crop("P1", dim)), nib.load(study.crop_mask("P1", dim))
    values = np.asarray(mask.dataobj)
    assert (values.shape, values.dtype) == (crop.shape, np.uint8)
    np.testing.assert_array_equal(mask.affine, crop.affine)
    np.testing.assert_array_equal(np.unique(values), [0, 1])
    hu = np.asarray(crop.dataobj)
    assert np.median(hu[values == 1]) == 800
    assert np.isin(np.median(hu[values == 0]), [-100, -1024])
    agree = ((hu > 350) == (values == 1)).mean()
    assert agree > 0.995, "the half-height contour of the image is the mask's edge"
    record = json.loads(record_of(study.crop("P1", dim)).read_text())
    assert record["mask"] == hashlib.sha256(study.crop_mask("P1", dim).read_bytes()).hexdigest()


@pytest.mark.parametrize("dim", ["3d", "2d"])
def test_a_mask_that_was_lost_or_changed_is_made_again(study, dim):
    drawn = ball(GRID, 8.0)
    case = case_of(study, np.where(drawn, 800, 0), GRID, drawn)
    preprocess_case(study, case)
    made = study.crop_mask("P1", dim).read_bytes()
    study.crop_mask("P1", dim).write_bytes(made[:-1] + b"\1")
    preprocess_case(study, case)
    assert study.crop_mask("P1", dim).read_bytes() == made
    study.crop_mask("P1", dim).unlink()
    preprocess_case(study, case)
    assert study.crop_mask("P1", dim).read_bytes() == made


@settings(max_examples=25, deadline=None)
@given(grid=grids(finest=0.5, coarsest=1.5), shift=st.floats(-0.5, 0.5))
def test_a_ball_keeps_its_volume_and_place(grid, shift):
    grid = Grid((70, 70, 70), affine_about(grid, 70))
    drawn = ball(grid, 15.0)
    on = mask_on(Mask(drawn, grid, grid), target(shift=shift))
    exact = drawn.sum() * abs(np.linalg.det(grid.affine[:3, :3]))
    assert on.sum() == pytest.approx(exact, rel=0.04), (
        "point samples of a binary set beat against its grid"
    )
    points = world(target(shift=shift))[on == 1]
    np.testing.assert_allclose(points.mean(axis=0), CENTER, atol=0.1 + 0.05 * max(grid.spacing))


def affine_about(grid, size):
    matrix = grid.affine.copy()
    matrix[:3, 3] = np.array(CENTER) - matrix[:3, :3].sum(axis=1) * (size - 1) / 2
    return matrix


@pytest.mark.parametrize("count", [8, 11, 20])
def test_a_block_half_a_voxel_off_keeps_its_volume(count):
    grid = Grid((count + 4,) * 3, affine(shape=(count + 4,) * 3))
    drawn = np.zeros(grid.shape, bool)
    drawn[2:-2, 2:-2, 2:-2] = True
    for shift in (0.0, 0.5):
        on = mask_on(Mask(drawn, grid, grid), target(40, 1.0, shift))
        assert on.sum() == pytest.approx(count**3, rel=0.05), (
            "linear interpolation rounds the edges, not the faces"
        )
        np.testing.assert_array_equal(
            [np.ptp(np.nonzero(on)[axis]) + 1 for axis in range(3)], count
        )


def test_a_lesion_thinner_than_the_grid_is_not_lost():
    grid = Grid(
        (2, 1, 1), affine(spacing=(0.3, 0.3, 0.3), center=(12.2, -34.2, 560.2), shape=(2, 1, 1))
    )
    on = mask_on(Mask(np.ones((2, 1, 1), bool), grid, grid), target(9, 2.0))
    assert on.sum() == 1
    assert on[4, 4, 4] == 1


def test_a_plane_that_misses_the_lesion_is_empty():
    drawn = ball(GRID, 8.0)
    matrix = affine(center=(12.0, -34.0, 575.0), shape=(40, 40, 1))
    assert not mask_on(Mask(drawn, GRID, GRID), Grid((40, 40, 1), matrix)).any()
