"""The images that the viewer takes: planted voxels, letters and chunks, against NumPy alone."""

import gzip

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.nifti import write_nifti
from ctbone.viewer import canonical, open_image, viewer_page
from ctbone.viewer.image import direction_letters
from tests.preprocessing.scans import grids


@given(grid=grids(shape=(7, 6, 5)), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_a_planted_voxel_keeps_its_place_in_the_patient(grid, seed):
    index = np.random.default_rng(seed).integers(0, grid.shape)
    voxels = np.zeros(grid.shape, np.int16)
    voxels[tuple(index)] = 1000
    turned, lps = canonical(voxels, grid.affine)
    (found,) = np.argwhere(turned == 1000)
    place = lps.affine @ [*found[::-1], 1]
    np.testing.assert_allclose(place, grid.affine @ [*index, 1], atol=1e-9)


@given(grid=grids(shape=(4, 4, 4)))
@settings(max_examples=60, deadline=None)
def test_each_axis_points_to_the_left_posterior_and_superior_side(grid):
    _, lps = canonical(np.zeros(grid.shape, np.int16), grid.affine)
    directions = lps.affine[:3, :3] / np.linalg.norm(lps.affine[:3, :3], axis=0)
    cosines = np.diag([-1, -1, 1]) @ directions  # with left, posterior and superior
    # No exchange of two axes, and no flip, brings the axes nearer to these sides.
    assert (np.diag(cosines) >= -1e-9).all()
    for a, b in ((0, 1), (0, 2), (1, 2)):
        best = max(abs(cosines[a, a]), abs(cosines[b, b]))
        assert best >= max(abs(cosines[a, b]), abs(cosines[b, a])) - 1e-9
    assert sorted(lps.spacing) == pytest.approx(sorted(grid.spacing))


@pytest.mark.parametrize(
    ("direction", "letters"),
    [
        ((1, 0, 0), "R"),
        ((0, -1, 0), "P"),
        ((0, 0, -1), "I"),
        ((0.99, 0.1, 0), "R"),  # 6° oblique
        ((-0.8, 0.6, 0), "LA"),
        ((0.1, 0.6, 0.79), "SA"),
    ],
)
def test_letters_name_the_direction(direction, letters):
    assert direction_letters(np.array(direction, float)) == letters


@pytest.fixture
def image(tmp_path):
    hu = np.random.default_rng(1).integers(-900, 2000, (300, 260, 11)).astype(np.int16)
    path = tmp_path / "scan.nii.gz"
    write_nifti(path, hu, np.diag([-0.7, -0.7, 5.0, 1.0]))
    mask = np.zeros(hu.shape, np.uint8)
    mask[100:111, 20:31, 3:6] = 1
    return hu, open_image(path, mask=(mask, np.diag([-0.7, -0.7, 5.0, 1.0])))


def test_chunks_hold_all_slices_in_order(image):
    hu, opened = image
    count = opened.chunk_slices["image"]
    assert 1 < count < 11
    chunks = [opened.chunk("image", number) for number in range(-(-11 // count))]
    joined = np.frombuffer(b"".join(map(gzip.decompress, chunks)), "<i2")
    np.testing.assert_array_equal(joined.reshape(11, 260, 300), hu.transpose(2, 1, 0))


@pytest.mark.parametrize("number", [-1, 99])
def test_there_is_no_chunk_outside_the_volume(image, number):
    assert image[1].chunk("image", number) is None
    assert image[1].chunk("heat", 0) is None


def test_the_first_slice_is_the_middle_of_the_lesion(image):
    assert image[1].start == (105, 25, 4)


def test_a_heat_map_is_scaled_by_its_maximum(tmp_path):
    path = tmp_path / "scan.nii.gz"
    write_nifti(path, np.zeros((3, 3, 2), np.int16), np.diag([-1.0, -1, 1, 1]))
    heat = np.zeros((3, 3, 2), np.float32)
    heat[0, 1, 1], heat[2, 2, 0] = 0.5, 0.25
    layer = open_image(path, heat=heat).layers["heat"]
    assert (layer[1, 1, 0], layer[0, 2, 2], layer.sum()) == (255, 128, 383)


def test_a_page_cannot_be_left_by_its_title(image):
    page = viewer_page(image[1], "</title><script>alert(1)</script>")
    assert "<script>alert" not in page
