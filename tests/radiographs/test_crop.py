"""Crops against slices and block means of the image."""

import numpy as np
import pytest

from ctbone.config import Radiographs
from ctbone.radiographs.crop import crop_radiograph, upright
from ctbone.radiographs.read import Radiograph
from ctbone.radiographs.region import Box


def image(width=120, height=80, **more):
    return Radiograph(np.random.default_rng(0).random((height, width)).astype(np.float32), **more)


def test_a_box_of_the_size_of_the_grid_is_copied():
    crop = crop_radiograph(image(), Box(10, 20, 26, 36), Radiographs(size=16))
    np.testing.assert_array_equal(crop.grey.T, np.rint(image().grey[20:36, 10:26] * 1e4))


def test_nothing_outside_the_box_reaches_the_crop():
    region, settings = Box(10, 20, 77, 53), Radiographs(size=24)
    plain, marked = image(), image()
    outside = np.ones_like(marked.grey, dtype=bool)
    outside[20:53, 10:77] = False
    marked.grey[outside] = 1  # burned-in text, and a collimation border
    first, second = (crop_radiograph(one, region, settings) for one in (plain, marked))
    np.testing.assert_array_equal(first.grey, second.grey)


def test_shrinking_is_anti_aliased():
    stripes = np.tile(np.array([0, 1], np.float32), (64, 32))
    crop = crop_radiograph(Radiograph(stripes), None, Radiographs(size=16))
    np.testing.assert_allclose(crop.grey[1:-1], 5000, atol=1)


@pytest.mark.parametrize(("width", "height", "box"), [(64, 32, (16, 8)), (30, 60, (8, 16))])
def test_letterbox_keeps_the_aspect_ratio_and_stretch_does_not(width, height, box):
    letterbox = crop_radiograph(image(width, height), None, Radiographs(size=16))
    assert (letterbox.grey >= 0).any(axis=1).sum() == box[0]
    assert (letterbox.grey >= 0).any(axis=0).sum() == box[1]
    stretched = Radiographs(size=16, aspect="stretch")
    assert crop_radiograph(image(width, height), None, stretched).grey.min() >= 0


def test_pixels_that_are_not_square_count_in_the_letterbox():
    crop = crop_radiograph(image(40, 40, tall=2.0), None, Radiographs(size=16))
    assert (crop.grey >= 0).any(axis=1).sum() == 8
    assert (crop.grey >= 0).any(axis=0).sum() == 16


def test_a_margin_ends_at_the_border():
    crop = crop_radiograph(image(), Box(5, 20, 45, 30), Radiographs(size=16, margin=0.25))
    assert crop.box == Box(0, 10, 55, 40)


@pytest.mark.parametrize("row", ["L", "R", "A", "P"])
@pytest.mark.parametrize("column", ["F", "H"])
@pytest.mark.parametrize("turned", [False, True])
def test_every_orientation_ends_head_up(row, column, turned):
    """The brightest pixel marks head and left: it ends in the upper row, and right if frontal."""
    grey = np.array([[1.0, 2, 3], [4, 5, 6]], np.float32)
    pair = (row, column)
    shown, _ = upright(grey.T if turned else grey, 1.0, pair[::-1] if turned else pair)
    expected = grey if column == "F" else grey[::-1]
    expected = expected[:, ::-1] if row == "R" else expected
    np.testing.assert_array_equal(shown, expected)


@pytest.mark.parametrize("pair", [("X", "Y"), ("L", "R"), ("F", "H"), ("", "")])
def test_unknown_orientations_change_nothing(pair):
    grey = np.arange(6.0).reshape(2, 3)
    assert upright(grey, 1.0, pair)[0] is grey


@pytest.mark.parametrize("aspect", ["letterbox", "stretch"])
@pytest.mark.parametrize(
    "orientation",
    [None, ("L", "F"), ("R", "F"), ("L", "H"), ("R", "H"), ("F", "L"), ("H", "R"), ("P", "H")],
)
def test_the_affine_names_the_stored_pixel_of_each_pixel_of_the_crop(orientation, aspect):
    """A ramp stays a ramp under linear interpolation, so its value is that of the place."""
    rows, columns = np.indices((90, 140))
    ramp = (0.1 + 0.004 * columns + 0.002 * rows).astype(np.float32)
    image = Radiograph(ramp, orientation=orientation)
    settings = Radiographs(size=32, margin=0.1, aspect=aspect)
    crop = crop_radiograph(image, Box(30, 20, 100, 66), settings)
    inside = np.argwhere(crop.grey >= 0)
    edges = (inside.min(axis=0), inside.max(axis=0))
    inner = inside[((inside > edges[0] + 2) & (inside < edges[1] - 2)).all(axis=1)]
    places = np.column_stack([inner, np.zeros(len(inner)), np.ones(len(inner))]) @ crop.affine.T
    expected = 0.1 + 0.004 * places[:, 0] + 0.002 * places[:, 1]
    np.testing.assert_allclose(crop.grey[tuple(inner.T)] / 1e4, expected, atol=5e-4)
