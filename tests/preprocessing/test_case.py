from __future__ import annotations

import json
import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ctbone.dicom import convert_case
from ctbone.grid import Grid
from ctbone.hounsfield import AIR
from ctbone.preprocessing import (
    MaskCheck,
    PreprocessError,
    check_case,
    preprocess_case,
    write_summary,
)
from ctbone.study import Study, file_hash, record_of

from .scans import affine, ball, case_of, grids, world

SHAPE = (60, 50, 40)
CENTER = (12.0, -34.0, 560.0)
GRID = Grid(SHAPE, affine((0, 0, 180), (1.0, 1.2, 1.5), shape=SHAPE))


def scene(grid, radius=8.0):
    """HU that say where they are: a smooth wave, and a lesion of 300 HU in the middle."""
    x, y, z = np.moveaxis(world(grid) - CENTER, -1, 0)
    drawn = ball(grid, radius)
    return np.where(drawn, 300, 10 * x + 4 * y - 6 * z), drawn


def with_settings(study, text):
    study.settings_file.write_text(f"name: test\npreprocess:\n{text}")
    return Study.open(study.root)


def reordered(hu, drawn, grid, order, flips):
    """The same scan, its voxels stored in another order of axes and directions."""
    matrix = grid.affine[:, [*order, 3]].copy()
    shape = tuple(grid.shape[axis] for axis in order)
    hu, drawn = hu.transpose(order), drawn.transpose(order)
    for axis, flip in enumerate(flips):
        if flip:
            matrix[:3, 3] += matrix[:3, axis] * (shape[axis] - 1)
            matrix[:3, axis] *= -1
            hu, drawn = np.flip(hu, axis), np.flip(drawn, axis)
    return hu, drawn, Grid(shape, matrix)


@settings(
    max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    order=st.permutations(range(3)),
    flips=st.tuples(*[st.booleans()] * 3),
    tilt=st.sampled_from([0, 17]),
)
def test_any_order_of_axes_gives_the_same_crops(study, order, flips, tilt):
    grid = Grid(SHAPE, affine((tilt, 0, 180 + tilt), (1.0, 1.2, 1.5), shape=SHAPE))
    hu, drawn = scene(grid)
    first = preprocess_case(study, case_of(study, hu, grid, drawn, case_id="A"))
    other, lesion, stored = reordered(hu, drawn, grid, order, flips)
    second = preprocess_case(study, case_of(study, other, stored, lesion, case_id="B"))
    assert second.lesion_ml == pytest.approx(first.lesion_ml, rel=1e-6)
    assert second.longest_mm == pytest.approx(first.longest_mm, rel=1e-5)
    assert second.mean_hu == pytest.approx(first.mean_hu, abs=1e-3)
    for dim in ("3d", "2d"):
        ours, theirs = (nib.load(study.crop(name, dim)) for name in "AB")
        np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
        gap = np.abs(np.asarray(ours.dataobj).astype(int) - np.asarray(theirs.dataobj))
        assert gap.max() <= 1, "rounding to whole HU may fall on either side"
        assert (gap > 0).mean() < 0.01


def test_the_crop_lies_where_its_affine_says(study):
    hu, drawn = scene(GRID)
    summary = preprocess_case(study, case_of(study, hu, GRID, drawn))
    image = nib.load(study.crop("P1", "3d"))
    crop = np.asarray(image.dataobj)
    assert (crop.shape, crop.dtype) == ((96, 96, 96), np.int16)
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    assert summary.scale_factor == 1.0
    points = world(Grid(crop.shape, image.affine))
    x, y, z = np.moveaxis(points - CENTER, -1, 0)
    distance = np.linalg.norm(points - CENTER, axis=-1)
    low, high = np.sort([GRID.corners().min(axis=0), GRID.corners().max(axis=0)], axis=0)
    safe = (distance > 13) & ((points > low + 4) & (points < high - 4)).all(axis=-1)
    np.testing.assert_allclose(crop[safe], (10 * x + 4 * y - 6 * z)[safe], atol=1.5)
    assert (crop[distance < 5] == 300).all()
    assert (crop[((points < low - 2) | (points > high + 2)).any(axis=-1)] == AIR).all()
    np.testing.assert_allclose(points.mean(axis=(0, 1, 2)), CENTER, atol=0.8)


def test_the_summary_is_true(study):
    hu, drawn = scene(GRID, radius=9.0)
    summary = preprocess_case(study, case_of(study, hu, GRID, drawn))
    assert summary.lesion_ml == pytest.approx(drawn.sum() * 1.8 / 1000, rel=1e-6)
    assert summary.longest_mm == pytest.approx(18.0, abs=1.5)
    assert summary.mean_hu == pytest.approx(300)
    assert summary.spacing == pytest.approx((1.0, 1.2, 1.5))


def test_a_mask_on_its_own_grid(study):
    drawn = ball(GRID, 8.0)
    hu = 300 + (world(GRID) - CENTER) @ [10, 4, -6]
    fine = Grid((50, 50, 50), affine((0, 0, 30), (0.6, 0.6, 0.6), shape=(50, 50, 50)))
    same = preprocess_case(study, case_of(study, hu, GRID, drawn, case_id="A"))
    other = preprocess_case(study, case_of(study, hu, GRID, ball(fine, 8.0), fine, case_id="B"))
    assert other.lesion_ml == pytest.approx(same.lesion_ml, rel=0.02)
    assert other.mean_hu == pytest.approx(300, abs=1)


def test_a_large_lesion_is_shrunk_and_never_cut(study):
    grid = Grid((70, 70, 70), affine(spacing=(2.0,) * 3, shape=(70,) * 3))
    drawn = np.zeros(grid.shape, bool)
    drawn[5:65, 30:40, 30:40] = True
    summary = preprocess_case(study, case_of(study, np.where(drawn, 500, 0), grid, drawn))
    assert summary.scale_factor == pytest.approx(96 / (120 + 20))
    image = nib.load(study.crop("P1", "3d"))
    crop = np.asarray(image.dataobj)
    spacing = (120 + 20) / 96
    assert np.linalg.norm(image.affine[:3, 0]) == pytest.approx(spacing, rel=1e-6)
    assert (crop[:, 48, 48] > 250).sum() * spacing == pytest.approx(120, abs=spacing)
    assert (
        json.loads(record_of(study.crop("P1", "3d")).read_text())["scale_factor"]
        == summary.scale_factor
    )


def test_fit_fills_the_cube(study):
    study = with_settings(study, "  crop_3d: {mode: fit, size: 32, margin: 2}\n")
    hu, drawn = scene(GRID)
    summary = preprocess_case(study, case_of(study, hu, GRID, drawn))
    edge = 32 * np.linalg.norm(nib.load(study.crop("P1", "3d")).affine[:3, 0])
    low, high = world(GRID)[drawn].min(axis=0), world(GRID)[drawn].max(axis=0)
    assert edge == pytest.approx((high - low + [1.0, 1.2, 1.5]).max() + 4, abs=1e-3)
    assert summary.scale_factor == pytest.approx(32 / edge, rel=1e-6)


def test_three_planes_show_the_largest_sections(study):
    grid = Grid((60, 50, 40), affine((0, 180, 0), (1.0, 1.2, 1.5), shape=(60, 50, 40)))
    x, y, z = np.moveaxis(world(grid) - CENTER, -1, 0)
    # Two cones in one: the sections grow towards +5 mm in R, -6 in A, +7.5 in S.
    radius = 12 - (abs(x - 5) + abs(y + 6) + abs(z - 7.5)) / 2
    drawn = radius > 6
    hu = 10 * x + 4 * y - 6 * z
    preprocess_case(study, case_of(study, hu, grid, drawn))
    images = np.asarray(nib.load(study.crop("P1", "2d")).dataobj)
    assert (images.shape, images.dtype) == ((224, 224, 3), np.int16)
    views = json.loads(record_of(study.crop("P1", "2d")).read_text())["views"]
    assert [(view["name"], view["axes"]) for view in views] == [
        ("axial", ["left_right", "anterior_posterior"]),
        ("coronal", ["left_right", "superior_inferior"]),
        ("sagittal", ["anterior_posterior", "superior_inferior"]),
    ]
    for k, (view, normal, at) in enumerate(zip(views, (2, 1, 0), (7.5, -6.0, 5.0), strict=True)):
        matrix = np.array(view["affine"])
        assert matrix[normal, 3] - CENTER[normal] == pytest.approx(at, abs=0.76)
        planes = drawn.any(axis=tuple(a for a in range(3) if a != normal)).nonzero()[0]
        areas = drawn.sum(axis=tuple(a for a in range(3) if a != normal))[planes]
        pixel = np.prod([mm for a, mm in enumerate((1.0, 1.2, 1.5)) if a != normal])
        assert view["area_mm2"] == pytest.approx(areas.max() * pixel, rel=1e-6)
        points = world(Grid((224, 224, 1), matrix))[:, :, 0] - CENTER
        inside = (np.abs(points) < [28, 28, 28]).all(axis=-1)
        expected = points @ [10, 4, -6]
        np.testing.assert_allclose(images[:, :, k][inside], expected[inside], atol=1.0)
        assert (np.diff(points[:, 0], axis=0).sum(axis=1) > 0).all()
        assert (np.diff(points[0], axis=0).sum(axis=1) > 0).all()
        box = (world(grid)[drawn] - CENTER)[:, [a for a in range(3) if a != normal]]
        frame = points.reshape(-1, 3)[:, [a for a in range(3) if a != normal]]
        assert (frame.min(axis=0) <= box.min(axis=0) - 9.5).all()
        assert (frame.max(axis=0) >= box.max(axis=0) + 9.5).all()


def test_neighbours_lie_a_distance_apart(study):
    study = with_settings(study, "  images_2d: {views: neighbours, distance: 4, size: 64}\n")
    hu, drawn = scene(GRID)
    preprocess_case(study, case_of(study, hu, GRID, drawn))
    views = json.loads(record_of(study.crop("P1", "2d")).read_text())["views"]
    heights = [view["affine"][2][3] for view in views]
    assert [view["name"] for view in views] == ["axial_below", "axial", "axial_above"]
    np.testing.assert_allclose(np.diff(heights), [4, 4])
    assert views[1]["area_mm2"] > max(views[0]["area_mm2"], views[2]["area_mm2"]) > 0
    assert nib.load(study.crop("P1", "2d")).shape == (64, 64, 3)


def test_of_equal_planes_the_middle_one(study):
    drawn = np.zeros(SHAPE, bool)
    drawn[20:30, 20:30, 10:21] = True
    preprocess_case(study, case_of(study, np.zeros(SHAPE), GRID, drawn))
    views = json.loads(record_of(study.crop("P1", "2d")).read_text())["views"]
    assert views[0]["affine"][2][3] == pytest.approx(GRID.to_world(np.array([[0, 0, 15.0]]))[0, 2])


def test_only_what_changed_is_made_again(study):
    hu, drawn = scene(GRID)
    case = case_of(study, hu, GRID, drawn)
    crop = study.crop("P1", "3d")
    first = preprocess_case(study, case)
    made = crop.stat().st_mtime_ns
    assert preprocess_case(study, case) == first
    assert crop.stat().st_mtime_ns == made
    for damage in (
        lambda: crop.write_bytes(crop.read_bytes()[:-2]),
        lambda: study.crop("P1", "2d").unlink(),
        lambda: record_of(study.crop("P1", "2d")).write_text("{"),
        lambda: record_of(crop).unlink(),
        lambda: case_of(study, hu + 1, GRID, drawn),
        lambda: case_of(study, hu, GRID, np.roll(drawn, 3, axis=0)),
    ):
        damage()
        made = crop.stat().st_mtime_ns
        again = preprocess_case(study, case)
        assert crop.stat().st_mtime_ns > made
        assert nib.load(crop).get_fdata().shape == (96, 96, 96)
    assert again.voxel_hash != first.voxel_hash
    made = crop.stat().st_mtime_ns
    preprocess_case(with_settings(study, "  crop_3d: {margin: 11}\n"), case)
    assert crop.stat().st_mtime_ns > made


def test_equal_voxels_have_equal_hashes(study):
    hu, drawn = scene(GRID)
    one = preprocess_case(study, case_of(study, hu, GRID, drawn, case_id="A"))
    two = preprocess_case(study, case_of(study, hu, GRID, drawn, case_id="B"))
    three = preprocess_case(study, case_of(study, hu + 1, GRID, drawn, case_id="C"))
    assert one.voxel_hash == two.voxel_hash != three.voxel_hash


def test_bad_cases_leave_nothing_behind(study):
    hu, drawn = scene(GRID)
    good = case_of(study, hu, GRID, drawn)
    bad = {
        "the mask is empty": case_of(study, hu, GRID, np.zeros(SHAPE), case_id="E"),
        "does not overlap": case_of(
            study, hu, GRID, drawn, Grid(SHAPE, affine(center=(0, 0, 0), shape=SHAPE)), case_id="O"
        ),
        "the mask does not exist": replace(good, mask=study.root / "gone.nii"),
        "no volume yet": replace(good, case_id="N"),
    }
    for problem, case in bad.items():
        with pytest.raises(PreprocessError, match=problem) as caught:
            preprocess_case(study, case)
        assert caught.value.case == case.case_id
        assert not study.crop(case.case_id, "3d").exists()
    volume = study.nifti("P1")
    volume.write_bytes(volume.read_bytes()[:-5000])
    with pytest.raises(PreprocessError, match="the image: the file ends early"):
        preprocess_case(study, good)


def test_check_finds_what_preprocessing_would(study):
    hu, drawn = scene(GRID)
    good = case_of(study, hu, GRID, drawn)
    assert check_case(study, good, GRID) == MaskCheck()
    assert check_case(study, good) == MaskCheck()
    elsewhere = Grid(SHAPE, affine(center=(0, 0, 0), shape=SHAPE))
    assert "does not overlap" in str(check_case(study, good, elsewhere).fault)
    empty = case_of(study, hu, GRID, np.zeros(SHAPE), case_id="E")
    assert "empty" in str(check_case(study, empty).fault)


def test_the_table_keeps_the_rows_of_cases_that_were_not_run(study):
    hu, drawn = scene(GRID)
    summary = preprocess_case(study, case_of(study, hu, GRID, drawn))
    error = PreprocessError("the mask is empty", case="P2", file="m.nii", remedy="draw, the lesion")
    write_summary(study, {"P1": summary, "P2": error})
    write_summary(
        study, {"P3": replace(summary, case_id="P3"), "P2": replace(summary, case_id="P2")}
    )
    import pandas as pd

    table = pd.read_csv(study.preprocess_csv, keep_default_na=False)
    assert table["case_id"].tolist() == ["P1", "P2", "P3"]
    assert table["status"].tolist() == ["ok"] * 3
    assert table["lesion_ml"].tolist() == [summary.lesion_ml] * 3
    write_summary(study, {"P2": error})
    row = (
        pd.read_csv(study.preprocess_csv, keep_default_na=False, dtype=str)
        .set_index("case_id")
        .loc["P2"]
    )
    assert (row["status"], row["reason"], row["lesion_ml"]) == (
        "failed",
        "the mask is empty | draw, the lesion",
        "",
    )


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(grid=grids((30, 30, 30)))
def test_the_lesion_is_inside_every_crop(study, grid):
    drawn = ball(grid, 6.0)
    preprocess_case(study, case_of(study, np.where(drawn, 800, 0), grid, drawn))
    image = nib.load(study.crop("P1", "3d"))
    crop = np.asarray(image.dataobj)
    distance = np.linalg.norm(world(Grid(crop.shape, image.affine)) - CENTER, axis=-1)
    assert crop[distance < 2].min() > 300
    assert not (np.abs(crop[distance > 6 + 2.5 * max(grid.spacing)]) > 20)[
        crop[distance > 6 + 2.5 * max(grid.spacing)] != AIR
    ].any()


def test_a_volume_that_changed_after_its_conversion_is_noticed(study):
    """The record of the conversion is believed only while the volume was not touched since."""
    hu, drawn = scene(GRID)
    case = replace(case_of(study, hu, GRID, drawn), image=study.root / "ct.nii.gz")
    study.nifti("P1").rename(case.image)
    convert_case(study, case)
    volume = study.nifti("P1")
    before = preprocess_case(study, case)
    assert json.loads(record_of(study.crop("P1", "3d")).read_text())["inputs"][
        "image"
    ] == file_hash(volume)
    converted = volume.stat()
    case_of(study, hu + 5, GRID, drawn)
    os.utime(
        volume, ns=(converted.st_atime_ns, converted.st_mtime_ns)
    )  # as a copy that keeps the time would
    after = preprocess_case(study, case)
    assert after.mean_hu == pytest.approx(before.mean_hu + 5, abs=0.01)
    assert json.loads(record_of(study.crop("P1", "3d")).read_text())["inputs"][
        "image"
    ] == file_hash(volume)
