from __future__ import annotations

import json
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from ctbone.cohort import Case, check_cohort, read_cohort
from ctbone.grid import Grid
from ctbone.masks.components import choose_components
from ctbone.masks.mask import Mask, read_mask
from ctbone.preprocessing import PreprocessError, check_case, preprocess_case
from ctbone.study import Study, record_of
from tests.preprocessing.scans import affine, ball, case_of, save, world

SHAPE = (70, 60, 50)
CENTER = np.array([12.0, -34.0, 560.0])
GRID = Grid(SHAPE, affine((0, 0, 180), (1.0, 1.2, 1.5), shape=SHAPE))
RIGHT, LEFT, HIGH = CENTER + np.array([[18, 0, 0], [-18, -4, 0], [0, 10, 25]])
THREE = ball(GRID, 8.0, RIGHT) | ball(GRID, 5.0, LEFT) | ball(GRID, 3.0, HIGH)


def ml(drawn, grid=GRID):
    return np.count_nonzero(drawn) * abs(np.linalg.det(grid.affine[:3, :3])) / 1000


def ruled(study, rule):
    study.settings_file.write_text(
        f"name: test\npreprocess: {{lesions: {rule}, crop_3d: {{size: 40}}}}\n"
    )
    return Study.open(study.root)


def box_center(study, case_id="P1"):
    affine_ = np.array(json.loads(record_of(study.crop(case_id, "3d")).read_text())["affine"])
    return affine_[:3, 3] + affine_[:3, :3].sum(axis=1) * 39 / 2


def test_all_parts_are_one_lesion(study):
    study = ruled(study, "all")
    summary = preprocess_case(study, case_of(study, np.zeros(SHAPE), GRID, THREE))
    assert summary.lesion_ml == pytest.approx(ml(THREE))
    assert summary.scale_factor < 0.75, "the box of all three does not fit 40 mm"
    case = json.loads(record_of(study.crop("P1", "3d")).read_text())["case"]
    assert case["taken"] == "all"
    expected = [
        ml(ball(GRID, radius, at)) for radius, at in ((8.0, RIGHT), (5.0, LEFT), (3.0, HIGH))
    ]
    assert case["parts_ml"] == pytest.approx(expected)


def test_the_largest_part_alone(study):
    study = ruled(study, "largest")
    summary = preprocess_case(study, case_of(study, np.zeros(SHAPE), GRID, THREE))
    assert summary.lesion_ml == pytest.approx(ml(ball(GRID, 8.0, RIGHT)))
    np.testing.assert_allclose(box_center(study), RIGHT, atol=0.8)
    mask = np.asarray(nib.load(study.crop_mask("P1", "3d")).dataobj)
    assert mask.sum() == pytest.approx(4 / 3 * np.pi * 8**3, rel=0.05), (
        "the small ones are background"
    )


@pytest.mark.parametrize("rule", ["all", "largest"])
def test_each_part_is_a_case_of_its_own(study, rule):
    study = ruled(study, rule)
    for number, (radius, at) in enumerate(((8.0, RIGHT), (5.0, LEFT), (3.0, HIGH)), start=1):
        case = replace(case_of(study, np.zeros(SHAPE), GRID, THREE), lesion=number)
        summary = preprocess_case(study, case)
        assert summary.lesion_ml == pytest.approx(ml(ball(GRID, radius, at)))
        np.testing.assert_allclose(box_center(study), at, atol=0.8)
    with pytest.raises(PreprocessError, match="no lesion 4") as caught:
        preprocess_case(study, replace(case, lesion=4))
    assert "3 separate parts" in caught.value.found


def test_what_is_taken_does_not_hang_on_the_order_of_the_voxels(tmp_path):
    drawn = ball(GRID, 5.0, RIGHT) | ball(GRID, 5.0, LEFT)
    taken = []
    for order, flip in (((0, 1, 2), False), ((2, 0, 1), True), ((1, 2, 0), True)):
        matrix, stored = GRID.affine[:, [*order, 3]].copy(), drawn.transpose(order)
        if flip:
            matrix[:3, 3] += matrix[:3, 0] * (stored.shape[0] - 1)
            matrix[:3, 0] *= -1
            stored = stored[::-1]
        path = save(tmp_path / f"{order[0]}.nii", stored.astype(np.uint8), matrix)
        case = Case("P1", "P1", "benign", "internal", tmp_path, path, lesion=1)
        mask, _ = choose_components(read_mask(case), "all", case)
        taken.append(mask.grid.to_world(np.argwhere(mask.voxels)).mean(axis=0))
    np.testing.assert_allclose(taken[1:], [taken[0]] * 2, atol=1e-3)


def test_parts_that_touch_by_a_corner_are_one(tmp_path):
    drawn = np.zeros((6, 6, 6), np.uint8)
    drawn[1:3, 1:3, 1:3] = drawn[3:5, 3:5, 3:5] = 1
    case = Case(
        "P1", "P1", "benign", "internal", tmp_path, save(tmp_path / "m.nii", drawn, np.eye(4))
    )
    mask, found = choose_components(read_mask(case), "largest", case)
    assert mask.voxels.sum() == 16
    assert found.volumes_ml == (0.016,)
    assert found.note is None


def test_check_says_what_was_chosen(study):
    case = case_of(study, np.zeros(SHAPE), GRID, THREE)
    assert check_case(study, case).note.endswith("all are taken as one lesion")
    assert "3 separate parts" in check_case(study, case).note
    assert check_case(ruled(study, "largest"), case).note.endswith("the largest is taken")
    assert check_case(study, replace(case, lesion=2)).note.endswith("number 2 is taken")
    assert "no lesion 9" in str(check_case(study, replace(case, lesion=9)).fault)


def test_a_slip_of_the_brush_is_no_case(study):
    drawn = ball(GRID, 8.0, RIGHT)
    drawn[2, 2, 2] = True
    case = replace(case_of(study, np.zeros(SHAPE), GRID, drawn), lesion=2)
    assert "single voxel" in str(check_case(study, case).fault)


def test_another_lesion_is_another_crop(study):
    study = ruled(study, "all")
    case = case_of(study, 10 * world(GRID)[..., 0], GRID, THREE)
    first = preprocess_case(study, replace(case, lesion=1))
    second = preprocess_case(study, replace(case, lesion=2))
    assert first.voxel_hash != second.voxel_hash
    assert preprocess_case(study, replace(case, lesion=2)) == second


def test_the_column_of_the_cohort(study):
    rows = study.cohort_csv.read_text().splitlines()
    rows = [rows[0] + ",lesion", *(f"{row},{number or ''}" for number, row in enumerate(rows[1:]))]
    study.cohort_csv.write_text("\n".join(rows))
    cases = read_cohort(study).cases
    assert [case.lesion for case in cases[:3]] == [None, 1, 2]
    assert "lesion" not in dict(cases[1].metadata), "it is no clinical column"
    study.cohort_csv.write_text("\n".join([rows[0], rows[1] + "sacral", rows[2] + ".5", *rows[3:]]))
    faults = [fault for fault in check_cohort(study) if "not the number of a part" in fault.problem]
    assert [fault.case for fault in faults] == ["C000", "C001"]


def test_crops_of_another_lesion_are_not_trained_on(study):
    from ctbone.errors import CustodyError
    from ctbone.models.crops import load_crops

    study = ruled(study, "all")
    case = replace(case_of(study, 10 * world(GRID)[..., 0], GRID, THREE), lesion=1)
    preprocess_case(study, case)
    assert load_crops(study, [case], "3d").images.shape == (1, 1, 40, 40, 40)
    with pytest.raises(CustodyError, match="other settings"):
        load_crops(study, [replace(case, lesion=2)], "3d")
    with pytest.raises(CustodyError, match="other settings"):
        load_crops(ruled(study, "largest"), [case], "3d")


def test_ctbone_check_prints_notes(study, capsys):
    from ctbone import cli, workflow

    case = case_of(study, np.zeros(SHAPE), GRID, THREE)
    rows = []
    for k in range(4):
        image = study.root / f"ct{k}.nii.gz"
        save(image, np.random.default_rng(k).normal(0, 90, SHAPE).astype(np.int16), GRID.affine)
        label = "benign" if k < 2 else "malignant"
        rows.append(f"C{k},{label},{image},{case.mask},{'' if k else 9}")
    study.cohort_csv.write_text("\n".join(["case_id,label,image,mask,lesion", *rows]))
    study.settings_file.write_text("name: test\nfolds: {count: 2}\n")
    found = workflow.check(Study.open(study.root))
    assert [problem.case for problem in found.problems] == ["C0"], "it asks for lesion 9"
    assert [note.split(":")[0] for note in found.notes] == ["case C1", "case C2", "case C3"]
    with pytest.raises(SystemExit):
        cli.check(study.root)
    assert "note: case C1: the mask has 3 separate parts" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("offset", "told"),
    [((0, 0, 8), False), ((0, 0, 14), True), ((0, 25, 0), True), ((7, 7, 5), False)],
)
def test_a_speck_is_told_only_where_it_reaches_out(offset, told):
    """One voxel beside a ball of 2000: normal at the rim, but far away it moves the crop."""
    drawn = ball(GRID, 8.0, CENTER)
    at = np.round(GRID.to_index(CENTER[None])[0]).astype(int)
    place = at + np.round(np.array(offset) / GRID.spacing).astype(int)
    drawn[tuple(place)] = True
    parts = choose_components(
        Mask(drawn, GRID, GRID), "all", Case("P1", "P1", "benign", "internal", None, None)
    )[1]
    assert (parts.note is not None) == told
    if told:
        furthest = max(np.abs(offset)) - 8
        assert parts.reach_mm == pytest.approx(furthest, abs=2.5)
