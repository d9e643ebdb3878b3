"""``ctbone check --second-opinion``: other converters agree, or the table says why they do not."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctbone.grid import Grid
from ctbone.second_opinion.compare import compare_volumes
from tests.dicom.writer import Plan, ramp, write_series
from tests.test_cli import ctbone

OBLIQUE = ((0.0, 0.6, -0.8), (1.0, 0.0, 0.0))
PRIVATE = "XPLANTEDX"
PLANS = {
    "plain": Plan(ramp(6), patient=PRIVATE),
    "turned": Plan(ramp(6, low=3), directions=((0.0, -1.0, 0.0), (-1.0, 0.0, 0.0))),
    "below": Plan(ramp(6, low=-900, dtype=np.int16)),
    "padded": Plan(ramp(6, low=40), padding=44),
    "tilted": Plan(ramp(6, low=9), shift=(0.0, 0.6, 0.0)),
    "halves": Plan(ramp(6, low=500), slope=0.5),
}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """A study of six series, checked once: the process and the table."""
    root = tmp_path_factory.mktemp("study")
    settings = "name: test\nfolds: {count: 2}\ndicom: {irregular: resample}\n"
    (root / "study.yaml").write_text(settings)
    rows = ["case_id,label,image,mask"]
    drawn = np.zeros((10, 12, 6), np.uint8)
    drawn[4:7, 4:7, 2:4] = 1
    for number, (name, plan) in enumerate(PLANS.items()):
        write_series(root / "dicom" / name, plan)
        nib.Nifti1Image(drawn, plan.affine).to_filename(root / f"{name}.nii")
        label = ("benign", "malignant")[number % 2]
        rows.append(f"{name},{label},dicom/{name},{name}.nii")
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    done = ctbone("check", "--study", root, "--second-opinion", "--workers", 2)
    return done, pd.read_csv(root / "second_opinion.csv", keep_default_na=False), root


def row(table, case_id, converter):
    (found,) = table[(table.case_id == case_id) & (table.converter == converter)].to_dict("records")
    return found


def test_each_series_has_three_opinions(checked):
    done, table, root = checked
    assert done.returncode == 0, done.stderr
    assert len(table) == 18
    assert set(table.converter) == {"dcm2niix", "dicom2nifti", "SimpleITK"}
    assert f"Table: {root / 'second_opinion.csv'}" in done.stdout
    assert "Second opinion  6/6" in done.stderr
    assert (table.version != "").all()


@pytest.mark.parametrize("converter", ["dcm2niix", "dicom2nifti", "SimpleITK"])
@pytest.mark.parametrize("case_id", ["plain", "turned", "below", "halves"])
def test_converters_agree_once_conventions_are_set_aside(checked, case_id, converter):
    found = row(checked[1], case_id, converter)
    assert (found["result"], found["different"]) == ("agrees", 0), found
    assert found["voxels"] == 720
    if case_id == "below":
        stored = PLANS["below"].stored.astype(int) - 1024
        assert f"{(stored < -1024).sum()} values below −1024 as stored" in found["explanation"]


@pytest.mark.parametrize("converter", ["dcm2niix", "dicom2nifti", "SimpleITK"])
def test_padding_is_the_only_difference(checked, converter):
    found = row(checked[1], "padded", converter)
    assert (found["result"], found["different"]) == ("differs", 1), found
    assert "only padding differs" in found["explanation"]


def test_a_tilted_series_is_refused_or_on_another_grid(checked):
    _, table, _ = checked
    for converter in ("dcm2niix", "dicom2nifti", "SimpleITK"):
        found = row(table, "tilted", converter)
        assert found["result"] in ("differs", "no volume")
        assert found["explanation"]
    assert "gantry tilt" in row(table, "tilted", "dicom2nifti")["explanation"]


def test_nothing_private_is_told(checked):
    done, _, root = checked
    written = done.stdout + done.stderr + (root / "second_opinion.csv").read_text()
    assert PRIVATE not in written


GRID = Grid((10, 12, 6), np.diag([0.7, 0.8, 2.5, 1.0]))
HU = ramp(6, low=-500, dtype=np.int16).transpose(2, 1, 0)


def told(tmp_path: Path, data: np.ndarray, affine: np.ndarray):
    nib.Nifti1Image(data, affine).to_filename(tmp_path / "v.nii")
    return compare_volumes(HU, GRID, [tmp_path / "v.nii"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu[:, :, ::-1], "mirrored from slice to slice"),
        (lambda hu: hu[::-1], "mirrored along the rows"),
        (lambda hu: hu + 24, "all values differ by 24 HU"),
        (lambda hu: np.where(np.arange(6) == 3, 0, hu), "unexplained: look at slice 4"),
    ],
)
def test_a_difference_is_named(tmp_path, change, words):
    found = told(tmp_path, change(HU).astype(np.int16), GRID.affine)
    assert not found.agrees
    assert words in found.explanation


def test_another_place_is_a_difference(tmp_path):
    moved = GRID.affine.copy()
    moved[:3, 3] += (0.0, 0.4, 0.3)
    found = told(tmp_path, HU, moved)
    assert (found.agrees, found.different) == (False, 0)
    assert found.affine_mm == pytest.approx(0.5, abs=1e-6)


def test_a_file_with_fewer_slices_is_compared_where_both_are(tmp_path):
    found = told(tmp_path, HU[:, :, :4], GRID.affine)
    assert (found.agrees, found.voxels, found.different) == (False, 480, 0)
    assert "10 × 12 × 4" in found.explanation


def test_a_sign_that_was_not_extended_is_named(tmp_path):
    negative = HU < -200
    nib.Nifti1Image(np.where(negative, HU + 4096, HU), GRID.affine).to_filename(tmp_path / "v.nii")
    found = compare_volumes(HU, GRID, [tmp_path / "v.nii"], sign_step=4096.0)
    assert found.different == negative.sum()
    assert "negative values are 4096 HU higher" in found.explanation
