"""Every mask means what it says: labels, contours and the grid of a mask, through the commands."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctbone.cohort import Case
from ctbone.grid import Grid
from ctbone.masks.contour_nesting import fill_slice
from ctbone.masks.mask import read_mask
from ctbone.nifti import write_nifti
from ctbone.study import record_of
from tests.conftest import cohort_rows, write_rows
from tests.preprocessing.scans import affine, ball, save, world
from tests.test_cli import ctbone

from .dicom_masks import write_rtstruct, write_seg
from .test_mask import slicer

GRID = Grid((40, 36, 32), affine(spacing=(0.8, 0.9, 2.5), flips=(-1, -1, 1), shape=(40, 36, 32)))
CENTER = np.array([12.0, -34.0, 560.0])


def body() -> np.ndarray:
    """Muscle with a dense lesion of 300 HU, air beyond 14 mm of the middle; each with its noise."""
    away = np.linalg.norm(world(GRID) - CENTER, axis=-1)
    hu = np.where(away < 8, 300, np.where(away < 14, 40, -1000))
    noise = np.random.default_rng(0).normal(0, 20, GRID.shape)
    return np.rint(hu + noise).astype(np.int16)


@pytest.fixture
def faulty(study):
    """A study of one image with 36 cases; ``use`` gives some of them another mask."""
    root = study.root
    rows = cohort_rows()
    save(root / "mask.nii.gz", ball(GRID, 8.0).astype(np.uint8), GRID.affine)
    for number, row in enumerate(rows):  # the same image twice would be a problem of the cohort
        hu = body()
        hu[0, 0, 0] = number
        rng = np.random.default_rng(number)
        hu += rng.integers(-30, 30, hu.shape).astype(np.int16)
        write_nifti(root / f"{row['case_id']}.nii", hu, GRID.affine)
        row.update(image=f"{row['case_id']}.nii", mask="mask.nii.gz")

    def use(masks: dict[str, Path], yaml: str = ""):
        for row in rows:
            row["mask"] = str(masks.get(row["case_id"], "mask.nii.gz"))
        write_rows(study.cohort_csv, rows)
        study.settings_file.write_text(f"name: test\n{yaml}")
        return study

    return use


def check(study):
    done = ctbone("check", "--study", study.root, "--workers", 1)
    assert "Traceback" not in done.stderr
    return done


def about(text: str, case_id: str) -> str:
    """Return what a text says of one case."""
    lines = text.splitlines()
    starts = [k for k, line in enumerate(lines) if f"case {case_id}:" in line]
    assert len(starts) == 1, text
    end = next(
        (k for k in range(starts[0] + 1, len(lines)) if not lines[k].startswith(" ")), len(lines)
    )
    return "\n".join(lines[starts[0] : end])


def rings(*outlines: np.ndarray) -> list[np.ndarray]:
    """Repeat outlines, (n, 2) in voxels, as contours in mm on slices 12 to 19."""
    return [
        GRID.to_world(np.column_stack([outline, np.full(len(outline), float(k))]))
        for k in range(12, 20)
        for outline in outlines
    ]


def box(low, high) -> np.ndarray:
    (x0, y0), (x1, y1) = low, high
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], dtype=float)


def test_no_mask_is_guessed(faulty, tmp_path):
    """Several segments though one is drawn, fractions, contours twice: all told in one check."""
    one = ball(GRID, 8.0)
    third = save(tmp_path / "third.nii", one.astype(np.float32) * 0.3, GRID.affine)
    slicer(tmp_path / "one.seg.nrrd", [one * 2], [("Sacrum", 1, 0), ("Tumour", 2, 0)], GRID)
    structures = {1: ("body", []), 2: ("tumour", rings(box((15.2, 12.2), (24.7, 23.7))))}
    write_rtstruct(tmp_path / "several.dcm", structures)
    twice = rings(*[box((15.2, 12.2), (24.7, 23.7))] * 2)
    write_rtstruct(tmp_path / "twice.dcm", {1: ("tumour", twice)})
    crossing = rings(box((15.2, 12.2), (22.7, 23.7)), box((18.2, 14.2), (25.7, 21.7)))
    write_rtstruct(tmp_path / "crossing.dcm", {1: ("tumour", crossing)})
    write_seg(
        tmp_path / "background.dcm",
        {0: ("Background", ~one), 5: ("tumour", one)},
        GRID,
        kind="LABELMAP",
    )
    study = faulty(
        {
            "C000": third,
            "C001": tmp_path / "one.seg.nrrd",
            "C002": tmp_path / "several.dcm",
            "C003": tmp_path / "twice.dcm",
            "C004": tmp_path / "crossing.dcm",
            "C005": tmp_path / "background.dcm",
        }
    )
    done = check(study)
    assert done.returncode == 2
    assert "not labels" in about(done.stderr, "C000")
    several = done.stderr[done.stderr.index("2 times: the mask holds several labels") :]
    assert "C001  1, 2" in several
    assert "C002  1, 2" in several
    assert "3 problems" in done.stderr
    assert "repeat another count once: 8" in about(done.stdout, "C003")
    assert "cross on 8 slices and are united" in about(done.stdout, "C004")
    assert "C005" not in done.stdout


def test_a_number_is_the_value_of_a_label_in_one_layer_and_in_several(faulty, tmp_path):
    tumour, sacrum = ball(GRID, 6.0), ball(GRID, 12.0)
    described = [("Sacrum", 2, 0), ("Tumour", 1, 1)]
    slicer(tmp_path / "layers.seg.nrrd", [sacrum * 2, tumour], described, GRID)
    shared = [("Sacrum", 1, 0), ("Tumour", 1, 1)]
    slicer(tmp_path / "shared.seg.nrrd", [sacrum, tumour], shared, GRID)
    flat = sacrum * 2
    flat[tumour] = 1
    slicer(tmp_path / "flat.seg.nrrd", [flat], [("Sacrum", 2, 0), ("Tumour", 1, 0)], GRID)
    names = ("layers", "shared", "flat")
    masks = {f"C00{k}": tmp_path / f"{name}.seg.nrrd" for k, name in enumerate(names)}
    study = faulty(masks, "preprocess: {mask_label: 1, crop_3d: {size: 24}}\n")
    done = check(study)
    assert "several labels 1" in about(done.stderr, "C001")
    assert "name of the lesion" in about(done.stderr, "C001")
    assert "1 problem" in done.stderr
    for case_id in ("C000", "C002"):
        assert ctbone("preprocess", "--study", study.root, "--case", case_id).returncode == 0
        record = json.loads(record_of(study.crop(case_id, "3d")).read_text())
        expected = tumour.sum() * np.prod(GRID.spacing) / 1000
        assert record["lesion"]["volume_ml"] == pytest.approx(expected)


def test_a_mask_on_another_grid_is_noted_with_what_lies_in_it(faulty, tmp_path):
    """A cropped mask, one with mistaken signs and another patient's: the HU tell them apart."""
    drawn = ball(GRID, 8.0)
    part = (slice(8, 32), slice(6, 30), slice(10, 22))
    cut = np.ascontiguousarray(drawn[part]).astype(np.uint8)
    right = GRID.affine.copy()
    right[:3, 3] = GRID.to_world(np.array([[8.0, 6.0, 10.0]]))[0]
    mistaken = right.copy()
    mistaken[:3, 3] += [7.5, 7.5, 0.0]  # of another patient, or another origin
    masks = {
        "C000": save(tmp_path / "right.nii.gz", cut, right),
        "C001": save(tmp_path / "mistaken.nii.gz", cut, mistaken),
    }
    study = faulty(masks, "preprocess: {crop_3d: {size: 24}}\n")
    done = check(study)
    notes = [line for line in done.stdout.splitlines() if "note: " in line]
    assert (done.returncode, len(notes)) == (0, 2), done.stdout
    values = nib.load(study.root / "C000.nii").get_fdata()[drawn]
    assert "not on the image's grid" in notes[0]
    assert f"mean {values.mean():.0f} HU, 100% in the body" in notes[0]
    there = GRID.to_index(Grid(cut.shape, mistaken).to_world(np.argwhere(cut).astype(float)))
    hu = nib.load(study.root / "C001.nii").get_fdata()[tuple(np.rint(there).astype(int).T)]
    share = (hu > -300).mean()
    assert share < 0.9
    told = int(notes[1].split("% in the body")[0].split()[-1])
    assert abs(told / 100 - share) < 0.1
    assert notes[1].endswith("does it belong to this scan?")
    for case_id in masks:
        done = ctbone("preprocess", "--study", study.root, "--case", case_id, "--qc")
        assert done.returncode == 0, done.stderr
    flags = [line for line in (study.qc / "qc.csv").read_text().splitlines() if "C00" in line]
    assert "lies in the body" not in flags[0]
    assert f"only {told}% of the mask lies in the body" in flags[1]


def filled(*outlines: np.ndarray, exclusive: bool = False) -> np.ndarray:
    return fill_slice(outlines, (40, 40), exclusive=exclusive).voxels


def oracle(outline: np.ndarray) -> np.ndarray:
    """Matplotlib's own test of points in a polygon."""
    from matplotlib.path import Path as Outline

    points = np.stack(np.meshgrid(np.arange(40), np.arange(40), indexing="ij"), axis=-1)
    return Outline(outline).contains_points(points.reshape(-1, 2)).reshape(40, 40)


@st.composite
def blobs(draw):
    """A star-shaped outline whose points lie off the lattice."""
    x, y = (draw(st.integers(8, 31)) + 0.31 for _ in range(2))
    count = draw(st.integers(3, 40))
    angle = np.linspace(0, 2 * np.pi, count, endpoint=False) + 0.1
    seed = draw(st.integers(0, 999))
    radius = np.random.default_rng(seed).uniform(2.2, 7.7, count)
    return np.column_stack([x + radius * np.cos(angle), y + radius * np.sin(angle)])


@settings(max_examples=60, deadline=None)
@given(one=blobs(), start=st.integers(0, 39), backwards=st.booleans())
def test_a_contour_drawn_twice_counts_once(one, start, backwards):
    again = np.roll(one, start, axis=0)[:: -1 if backwards else 1].round(2)
    found = fill_slice([one, again], (40, 40))
    np.testing.assert_array_equal(found.voxels, oracle(one))
    assert (found.repeats, found.crossing) == (1, False)


@settings(max_examples=100, deadline=None)
@given(one=blobs(), other=blobs())
def test_contours_that_are_not_nested_are_united(one, other):
    first, second = oracle(one), oracle(other)
    found = fill_slice([one, other], (40, 40))
    if (first & ~second).sum() > 12 and (second & ~first).sum() > 12:
        np.testing.assert_array_equal(found.voxels, first | second)
        assert found.crossing or (first & second).sum() < 40
    if not found.repeats:
        np.testing.assert_array_equal(filled(one, other, exclusive=True), first ^ second)


@settings(max_examples=40, deadline=None)
@given(one=blobs(), shares=st.lists(st.floats(0.1, 0.7), min_size=1, max_size=4))
def test_nested_contours_follow_the_even_odd_rule(one, shares):
    middle = one.mean(axis=0).round() + 0.31
    nested = [one]
    for share in shares:
        nested.append(middle + (nested[-1] - middle) * share)
    nested = [outline for outline in nested if np.ptp(outline, axis=0).min() > 2]
    inside = [oracle(outline) for outline in nested]
    if all((b <= a).all() for a, b in pairwise(inside)):
        expected = np.logical_xor.reduce(inside)
        got = fill_slice(nested[::-1], (40, 40))
        star = all(oracle_star(outline, middle) for outline in nested)
        if star:
            np.testing.assert_array_equal(got.voxels, expected)


def oracle_star(outline: np.ndarray, middle: np.ndarray) -> bool:
    """Whether shrinking an outline about a point keeps it inside itself: it sees every edge."""
    a, b = outline - middle, np.roll(outline, -1, axis=0) - middle
    return bool((a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0).all())


def test_a_united_pair_keeps_the_volume_of_its_union(tmp_path):
    contours = rings(box((15.2, 12.2), (22.7, 23.7)), box((18.2, 14.2), (25.7, 21.7)))
    path = write_rtstruct(tmp_path / "rt", {1: ("tumour", contours)})
    mask = read_mask(Case("P1", "P1", "benign", "internal", path, path), image=GRID)
    assert mask.voxels.sum() == 8 * (7 * 11 + 3 * 7)
    path = write_rtstruct(tmp_path / "rt", {1: ("tumour", contours)}, "CLOSEDPLANAR_XOR")
    mask = read_mask(Case("P1", "P1", "benign", "internal", path, path), image=GRID)
    assert mask.voxels.sum() == 8 * (7 * 11 + 3 * 7 - 4 * 7)


def test_a_background_is_no_label(tmp_path):
    """highdicom describes the background of a labelmap and names it by PixelPaddingValue."""
    import pydicom

    one = ball(GRID, 8.0)
    path = write_seg(tmp_path / "s", {9: ("air", ~one), 5: ("t", one)}, GRID, kind="LABELMAP")
    dataset = pydicom.dcmread(path)
    dataset.add_new("PixelPaddingValue", "US", 9)
    dataset.save_as(path)
    mask = read_mask(Case("P1", "P1", "benign", "internal", path, path))
    assert mask.voxels.sum() == one.sum()
