from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from hypothesis import given, settings

from ctbone.cohort import Case
from ctbone.nifti import Grid
from ctbone.preprocess import PreprocessError
from ctbone.preprocess.lesion import longest
from ctbone.preprocess.mask import check_overlap, read_mask

from .scans import affine, ball, grids, mask_of, save, world

GRID = Grid((40, 36, 32), affine(shape=(40, 36, 32)))


def case(path):
    return Case("P1", "P1", "benign", "internal", path, path)


@settings(max_examples=25, deadline=None)
@given(grid=grids())
def test_box_and_ends_are_those_of_all_voxels(tmp_path_factory, grid):
    drawn = ball(grid, 8.0)
    drawn[3, 4, 5] = True
    mask = mask_of(tmp_path_factory.mktemp("mask"), drawn, grid)
    points = world(grid)[drawn]
    half = 0.5 * np.abs(grid.affine[:3, :3]).sum(axis=1)
    np.testing.assert_allclose(mask.box[0], points.min(axis=0) - half, atol=1e-3)
    np.testing.assert_allclose(mask.box[1], points.max(axis=0) + half, atol=1e-3)
    every = np.linalg.norm(points[:, None] - points[None], axis=-1).max() if len(points) < 3000 else None
    if every is not None:
        assert longest(mask.grid.to_world(mask.ends)) == pytest.approx(every, abs=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".nii.gz"])
def test_every_format_gives_the_same_lesion(tmp_path, suffix):
    grid = Grid((40, 36, 32), affine((0, 0, 12), (0.8, 0.9, 2.0), (-1, 1, 1), shape=(40, 36, 32)))
    drawn = ball(grid, 9.0)
    expected = mask_of(tmp_path, drawn, grid)
    image = sitk.ReadImage(str(tmp_path / "mask.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / f"other{suffix}"))
    mask = read_mask(case(tmp_path / f"other{suffix}"))
    np.testing.assert_array_equal(mask.voxels, expected.voxels)
    np.testing.assert_allclose(mask.grid.affine, expected.grid.affine, atol=1e-3)


@pytest.mark.parametrize(
    ("drawn", "problem"),
    [
        (np.zeros((5, 5, 5)), "the mask is empty"),
        (np.eye(5)[:, :, None] * np.array([1, 2, 3, 4, 5]), "several labels"),
        (np.full((5, 5, 5), np.nan), "no numbers"),
        (np.pad(np.ones((1, 1, 1)), 2), "a single voxel"),
    ],
)
def test_a_bad_mask_says_what_is_wrong(tmp_path, drawn, problem):
    path = save(tmp_path / "m.nii.gz", drawn.astype(np.float32), np.eye(4))
    with pytest.raises(PreprocessError, match=problem) as caught:
        read_mask(case(path))
    assert (caught.value.case, caught.value.file) == ("P1", str(path))


def test_any_single_value_is_a_label(tmp_path):
    drawn = np.zeros((5, 5, 5), np.uint8)
    drawn[1:3, 2, 2] = 255
    assert read_mask(case(save(tmp_path / "m.nii", drawn, np.eye(4)))).voxels.tolist() == [[[True]], [[True]]]


def test_files_that_are_no_mask(tmp_path):
    for name, content in (("a.nii.gz", b"text"), ("b.nrrd", b"text"), ("c.txt", b"text")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(PreprocessError, match="case P1"):
            read_mask(case(tmp_path / name))
    (tmp_path / "seg").write_bytes(b"\0" * 128 + b"DICM")
    with pytest.raises(PreprocessError, match="neither a segmentation"):
        read_mask(case(tmp_path / "seg"))
    with pytest.raises(PreprocessError, match="is a folder"):
        read_mask(case(tmp_path))
    with pytest.raises(PreprocessError, match="does not exist"):
        read_mask(case(tmp_path / "gone.nii"))
    with pytest.raises(PreprocessError, match="has no mask"):
        read_mask(case(None))
    layers = sitk.Compose([sitk.Image(4, 4, 4, sitk.sitkUInt8)] * 2)
    sitk.WriteImage(layers, str(tmp_path / "two.nrrd"))
    with pytest.raises(PreprocessError, match="no single layer"):
        read_mask(case(tmp_path / "two.nrrd"))


def test_a_lesion_must_lie_in_the_image(tmp_path):
    mask = mask_of(tmp_path, ball(GRID, 6.0), GRID)
    there = case(tmp_path / "mask.nii.gz")
    check_overlap(mask, GRID, there)
    moved = Grid(GRID.shape, affine(center=(300, 0, 0), shape=GRID.shape))
    with pytest.raises(PreprocessError, match="does not overlap"):
        check_overlap(mask, moved, there)
    half = Grid(GRID.shape, affine(center=(12 + 20.5, -34, 560), shape=GRID.shape))
    with pytest.raises(PreprocessError, match="partly outside") as caught:
        check_overlap(mask, half, there)
    outside = (world(GRID)[ball(GRID, 6.0)][:, 0] < 12 + 20.5 - 19.5 - 1).mean()
    assert caught.value.found.startswith(f"{outside:.1%}")


def test_a_lesion_may_touch_the_border(tmp_path):
    drawn = np.zeros(GRID.shape)
    drawn[:3, :4, :5] = 1
    check_overlap(mask_of(tmp_path, drawn, GRID), GRID, case(tmp_path))
