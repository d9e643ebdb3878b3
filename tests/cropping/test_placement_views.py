"""The three images of analytic lesions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings

from ctbone.config import Images2D
from ctbone.cropping.placement import mask_on, place_views
from ctbone.grid import Grid
from ctbone.masks.mask import Mask
from tests.preprocessing.scans import affine, ball, grids, world

CENTER = np.array([12.0, -34.0, 560.0])
RADII = np.array([12.0, 9.0, 16.0])


def ellipsoid(grid, radii=RADII):
    return (((world(grid) - CENTER) / radii) ** 2).sum(axis=-1) <= 1


def oblique(shape=(60, 60, 60)):
    return Grid(shape, affine((12, -25, 160), (0.8, 0.9, 1.2), (1, -1, 1), shape=shape))


def test_areas_are_those_of_the_ellipsoid_s_sections():
    grid = oblique()
    planes = place_views(Mask(ellipsoid(grid), grid, grid), Images2D())
    for view, normal in zip(planes, (2, 1, 0), strict=True):
        first, second = (axis for axis in range(3) if axis != normal)
        assert view.area_mm2 == pytest.approx(np.pi * RADII[first] * RADII[second], rel=0.05)
        assert view.grid.affine[normal, 3] == pytest.approx(CENTER[normal], abs=1.3)


@pytest.mark.parametrize("distance", [3.0, 7.5, 14.0, 30.0])
def test_neighbours_cut_the_ellipsoid_at_their_distance(distance):
    grid = oblique()
    below, middle, above = place_views(
        Mask(ellipsoid(grid), grid, grid), Images2D(views="neighbours", distance=distance)
    )
    assert middle.grid.affine[2, 3] == pytest.approx(CENTER[2], abs=1.3)
    for view, sign in ((below, -1), (above, 1)):
        assert view.grid.affine[2, 3] == pytest.approx(middle.grid.affine[2, 3] + sign * distance)
        away = (view.grid.affine[2, 3] - CENTER[2]) / RADII[2]
        expected = np.pi * RADII[0] * RADII[1] * max(0, 1 - away**2)
        assert view.area_mm2 == pytest.approx(expected, rel=0.15, abs=25)


@settings(max_examples=20, deadline=None)
@given(grid=grids((44, 44, 44), finest=0.7, coarsest=1.4))
def test_the_region_holds_the_whole_lesion_and_its_margin_and_no_more(grid):
    drawn = ball(grid, 11.0)
    for view in place_views(Mask(drawn, grid, grid), Images2D(size=128, margin=6)):
        spacing = view.grid.spacing
        assert spacing[0] == pytest.approx(spacing[1])
        points = world(view.grid)[:, :, 0]
        normal = int(np.abs(view.grid.affine[:3, 2]).argmax())
        inside = [axis for axis in range(3) if axis != normal]
        reach = np.abs(points - CENTER)[..., inside].reshape(-1, 2).max(axis=0)
        assert (reach + spacing[0] / 2 >= 11 + 6 - 1.5).all()
        assert (reach <= 11 + 6 + 2.5).all(), "a voxel's own size and its diagonal at most"


@settings(max_examples=8, deadline=None)
@given(grid=grids((44, 44, 44), finest=0.7, coarsest=1.4))
def test_the_mask_of_an_image_has_the_area_that_is_told(grid):
    mask = Mask(ball(grid, 11.0), grid, grid)
    for settings_ in (
        Images2D(size=128, margin=6),
        Images2D(size=128, margin=6, views="neighbours", distance=6),
    ):
        for view in place_views(mask, settings_):
            area = mask_on(mask, view.grid).sum() * view.spacing_mm**2
            assert area == pytest.approx(view.area_mm2, rel=0.12)
