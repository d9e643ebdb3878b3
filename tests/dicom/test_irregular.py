"""A resampled irregular series keeps its edges: no air inside what was scanned."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from ctbone.config import DicomSettings
from ctbone.dicom import list_series, read_series
from ctbone.hounsfield import AIR

from .writer import Plan, write_series

RESAMPLE = DicomSettings(irregular="resample")
LPS = np.array([-1.0, -1.0, 1.0])


class Rounded(Plan):
    """A plan whose positions and directions are rounded in the header."""

    def place(self, k):
        return np.round(super().place(k), 3)


@st.composite
def irregular_plans(draw):
    """Oblique, tilted and uneven series, positions rounded to 0.001 mm."""
    angles = [draw(st.floats(-40, 40)) for _ in range(2)] + [draw(st.floats(-180, 180))]
    matrix = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    count = draw(st.integers(3, 7))
    gap = draw(st.sampled_from([0.8, 1.25, 3.0, 5.0]))
    gaps = [gap * draw(st.sampled_from([1.0, 1.0, 1.1, 1.4])) for _ in range(count - 1)]
    along = np.concatenate([[0.0], np.cumsum(gaps)])
    tilt = draw(st.sampled_from([0.0, 0.0, 4.0, 12.0, -20.0]))
    # Shift per slice along the columns for an even series; 0 for an uneven one.
    even = len(set(gaps)) == 1
    shift = tuple(matrix[:, 1] * gap * np.tan(np.radians(tilt))) if even else (0.0, 0.0, 0.0)
    shape = (count, draw(st.integers(6, 12)), draw(st.integers(6, 12)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    return Rounded(
        rng.integers(1024 + 200, 1024 + 400, shape).astype(np.uint16),
        directions=tuple(tuple(round(float(x), 6) for x in matrix[:, k]) for k in (0, 1)),
        origin=tuple(draw(st.floats(-300, 300)) for _ in range(3)),
        pixel=(draw(st.sampled_from([0.4, 0.7031])), draw(st.sampled_from([0.4, 0.9766]))),
        positions=tuple(float(x) for x in along),
        shift=shift,
    )


def scanned_points(plan):
    """Centres of every pixel of every slice, RAS mm, and their HU."""
    count, rows, columns = plan.stored.shape
    row, column = (np.array(direction) / np.linalg.norm(direction) for direction in plan.directions)
    points = []
    for k in range(count):
        j, i = np.mgrid[:rows, :columns]
        step = i[..., None] * row * plan.pixel[1] + j[..., None] * column * plan.pixel[0]
        points.append((plan.place(k) + step) * LPS)
    return np.concatenate(points).reshape(-1, 3), plan.stored.reshape(-1).astype(int) - 1024


@settings(max_examples=40, deadline=None)
@given(plan=irregular_plans())
def test_no_air_inside_what_was_scanned(tmp_path_factory, plan):
    folder = tmp_path_factory.mktemp("series")
    write_series(folder, plan)
    (series,) = list_series(folder, RESAMPLE)
    if series.verdict != "taken" or not series.stack.irregularity:
        return  # even gaps without tilt, or not axial
    volume = read_series(series)
    points, values = scanned_points(plan)
    index = volume.grid.to_index(points)
    # The grid holds every scanned pixel.
    last = np.array(volume.data.shape) - 1
    assert (index > -1e-2).all()
    assert (index < last + 1e-2).all()
    # The sample nearest to a scanned pixel is tissue wherever it lies between the slices.
    nearest = np.rint(index).astype(int).clip(0, last)
    centres = volume.grid.to_world(nearest) * LPS
    inside = within(centres, plan)
    sampled = volume.data[tuple(nearest[inside].T)]
    assert (sampled > AIR).all()
    assert sampled.min() >= values.min() - 1
    assert sampled.max() <= values.max() + 1
    # What is air is counted.
    assert volume.outside_voxels == int((volume.data == AIR).sum()) == volume.air_voxels


def within(centres, plan):
    """Whether points (LPS mm) lie between the slices, by the sheared coordinates of each gap."""
    row, column = (np.array(direction) / np.linalg.norm(direction) for direction in plan.directions)
    normal = np.cross(row, column)
    places = np.array([plan.place(k) for k in range(len(plan.stored))])
    along = places @ normal
    height = centres @ normal
    slack = 1e-4
    inside = (height >= along[0] - slack) & (height <= along[-1] + slack)
    first = np.stack([np.interp(height, along, places[:, axis]) for axis in range(3)], axis=-1)
    i, j = ((centres - first) @ axis for axis in (row, column))
    _, rows, columns = plan.stored.shape
    inside &= (i >= -slack) & (i <= (columns - 1) * plan.pixel[1] + slack)
    return inside & (j >= -slack) & (j <= (rows - 1) * plan.pixel[0] + slack)


def test_a_lesion_in_the_first_and_last_slice_keeps_its_hu(tmp_path, converted):
    matrix = Rotation.from_euler("xyz", [7.5, -11.0, 23.0], degrees=True).as_matrix()
    stored = np.full((6, 14, 14), 1024 + 30, np.uint16)
    stored[[0, 1, -2, -1], 4:10, 4:10] = 1024 + 302
    plan = Rounded(
        stored,
        directions=tuple(tuple(round(float(x), 6) for x in matrix[:, k]) for k in (0, 1)),
        origin=(-31.234567, 12.345678, 100.456789),
        pixel=(0.7, 0.7),
        positions=(0.0, 1.0, 2.0, 3.0, 4.3, 5.6),
    )
    write_series(tmp_path / "in", plan)
    voxels, record = converted(tmp_path / "in", "--irregular", "resample")
    assert record["outside_voxels"] == record["air_voxels"] == 0
    assert voxels.shape[1:] == (14, 14)
    assert voxels.min() == 30
    for end in (0, -1):
        assert voxels[end, 5:9, 5:9].mean() == 302


def test_the_corners_of_a_tilted_series_are_air_and_counted(tmp_path, converted):
    angle = np.radians(18.0)
    stored = np.full((6, 30, 10), 1024 + 50, np.uint16)
    directions = ((1.0, 0.0, 0.0), (0.0, np.cos(angle), np.sin(angle)))
    plan = Plan(stored, directions=directions, gap=0.0, shift=(0.0, 0.0, 3.0))
    write_series(tmp_path / "in", plan)
    voxels, record = converted(tmp_path / "in", "--irregular", "resample")
    assert record["outside_voxels"] == record["air_voxels"] == (voxels == AIR).sum() > 100
    assert ((voxels == AIR) | (voxels == 50)).all()
