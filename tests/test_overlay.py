from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctbone.errors import StudyError
from ctbone.grid import Grid
from ctbone.nifti import open_nifti
from ctbone.overlay import CropSpace, crop_space, to_scanner
from ctbone.preprocessing import preprocess_case
from ctbone.study import Study, record_of
from tests.preprocessing.scans import affine, ball, case_of, grids, world

CENTER = (12.0, -34.0, 560.0)


def drawn_by_the_network(study, grid, radius, dim):
    """What lights up in the crop's own voxels, without a look at any affine: the bright lesion."""
    drawn = ball(grid, radius)
    summary = preprocess_case(study, case_of(study, np.where(drawn, 1000, 0), grid, drawn))
    crop = np.asarray(nib.load(study.crop("P1", dim)).dataobj)
    heat = (crop if dim == "3d" else np.moveaxis(crop, -1, 0)).astype(np.float32)
    return drawn, np.clip(heat, 0, None), summary


def small(study, rest=""):
    study.settings_file.write_text(
        "name: test\n"
        f"preprocess: {{crop_3d: {{size: 48, margin: 4}}, images_2d: {{size: 64{rest}}}}}\n"
    )
    return Study.open(study.root)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(grid=grids((36, 36, 36), finest=0.8, coarsest=2.5), radius=st.sampled_from([7.0, 10.0]))
def test_a_heat_map_lands_on_the_lesion(study, grid, radius):
    study = small(study)
    drawn, heat, _ = drawn_by_the_network(study, grid, radius, "3d")
    back = to_scanner(heat, crop_space(study, "P1", "3d"))
    assert (back.shape, back.dtype) == (grid.shape, np.float32)
    lit = back > 500
    assert 2 * (lit & drawn).sum() / (lit.sum() + drawn.sum()) > 0.85
    apart = np.argwhere(lit).mean(axis=0) - np.argwhere(drawn).mean(axis=0)
    assert np.abs(apart).max() < 0.3, "voxels of the scanner"
    assert back[~drawn].mean() < 20


def test_a_lesion_that_was_scaled_to_fit_comes_back_in_full(study):
    grid = Grid((50, 60, 40), affine((15, 0, 190), (2.0, 2.0, 3.0), (1, -1, 1), shape=(50, 60, 40)))
    drawn, heat, summary = drawn_by_the_network(small(study), grid, 45.0, "3d")
    assert summary.scale_factor < 0.5
    lit = to_scanner(heat, crop_space(small(study), "P1", "3d")) > 500
    assert 2 * (lit & drawn).sum() / (lit.sum() + drawn.sum()) > 0.95
    assert np.abs(np.argwhere(lit).mean(axis=0) - np.argwhere(drawn).mean(axis=0)).max() < 0.2


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    grid=grids((36, 36, 36), finest=0.8, coarsest=2.5),
    views=st.sampled_from(["planes", "neighbours"]),
)
def test_each_image_lands_in_its_plane(study, grid, views):
    study = small(study, f", views: {views}, distance: 3")
    drawn, heat, _ = drawn_by_the_network(study, grid, 9.0, "2d")
    space = crop_space(study, "P1", "2d")
    points = world(grid)
    for number, plane in enumerate(space.grids):
        alone = np.zeros_like(heat)
        alone[number] = heat[number]
        lit = to_scanner(alone, space) > 500
        normal = plane.affine[:3, 2] / np.linalg.norm(plane.affine[:3, 2])
        off = np.abs((points - plane.affine[:3, 3]) @ normal)
        extent = np.abs(normal @ grid.affine[:3, :3]).sum() / 2
        assert off[lit].max() <= extent + 1e-3
        cut = drawn & (off < extent - 1e-3)
        assert 2 * (lit & cut).sum() / (lit.sum() + cut.sum()) > 0.8
        apart = points[lit].mean(axis=0) - points[cut].mean(axis=0)
        assert np.abs(np.linalg.inv(grid.affine[:3, :3]) @ apart).max() < 0.5
    np.testing.assert_array_equal(
        to_scanner(heat, space),
        np.max(
            [
                to_scanner(np.where(np.arange(3)[:, None, None] == k, heat, 0), space)
                for k in range(3)
            ],
            axis=0,
        ),
    )


def test_one_hot_voxel_lands_where_its_affine_says(study):
    grid = Grid(
        (60, 60, 60), affine((20, -30, 100), (1.1, 0.9, 1.3), (1, 1, -1), shape=(60, 60, 60))
    )
    study = small(study)
    drawn_by_the_network(study, grid, 9.0, "3d")
    affine_of_crop = nib.load(study.crop("P1", "3d")).affine
    for index in ((24, 24, 24), (10, 30, 35), (40, 20, 12)):
        heat = np.zeros((48, 48, 48), np.float32)
        heat[index] = 1
        back = to_scanner(heat, crop_space(study, "P1", "3d"))
        found = (world(grid) * back[..., None]).sum(axis=(0, 1, 2)) / back.sum()
        assert np.linalg.norm(found - nib.affines.apply_affine(affine_of_crop, index)) < 0.5


def test_the_grid_is_the_volume_s(study):
    grid = Grid((40, 30, 20), affine((0, 0, 180), (1.0, 1.2, 2.5), shape=(40, 30, 20)))
    study = small(study)
    drawn_by_the_network(study, grid, 8.0, "3d")
    volume = open_nifti(study.nifti("P1")).grid
    space = crop_space(study, "P1", "3d")
    assert space.scanner.shape == volume.shape
    np.testing.assert_array_equal(space.scanner.affine, volume.affine)


def test_a_crop_that_leaves_the_scan(study):
    cube = Grid((10, 10, 10), affine(center=(0, 0, 0), shape=(10, 10, 10)))
    scanner = Grid((8, 8, 8), affine(center=(5, 0, 0), shape=(8, 8, 8)))
    back = to_scanner(np.ones((10, 10, 10)), CropSpace((cube,), scanner))
    assert 0 < back.sum() < back.size
    far = CropSpace((cube,), Grid((8, 8, 8), affine(center=(500, 0, 0), shape=(8, 8, 8))))
    assert not to_scanner(np.ones((10, 10, 10)), far).any()


def test_faults(study):
    grid = Grid((30, 30, 30), affine(shape=(30, 30, 30)))
    with pytest.raises(StudyError):
        crop_space(study, "P1", "3d")
    study = small(study)
    drawn_by_the_network(study, grid, 6.0, "3d")
    with pytest.raises(ValueError, match="shape"):
        to_scanner(np.zeros((48, 48, 47)), crop_space(study, "P1", "3d"))
    with pytest.raises(ValueError, match="shape"):
        to_scanner(np.zeros((64, 64, 3)), crop_space(study, "P1", "2d"))
    record_of(study.crop("P1", "3d")).write_text('{"affine": [[1, 2], [3, 4]], "scanner": {}}')
    with pytest.raises(StudyError, match="does not hold the geometry"):
        crop_space(study, "P1", "3d")
