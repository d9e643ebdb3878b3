"""A NIfTI whose values are not HU is noticed, and no cropped or padded CT is suspected."""

from __future__ import annotations

import numpy as np
import pytest

from ctbone.hu_histogram import hu_doubt
from ctbone.nifti import write_nifti
from ctbone.phantom.case import render_case
from ctbone.phantom.cohort import PhantomCohort, draw_cohort
from tests.conftest import cohort_rows, write_rows
from tests.test_cli import ctbone

SMALL = PhantomCohort(internal=6, external={"centre2": 2}, scale=0.3, seed=4)
WRONG = {
    "1024 was added": lambda hu: hu + 1024,
    "1024 was subtracted": lambda hu: hu - 1024,
    "scaled to 8 bits": lambda hu: np.clip((hu + 1024) * 255 // 4095, 0, 255),
    "scaled": lambda hu: np.clip((hu + 1024) // 4, 0, 1000),
    "8 bits": lambda hu: (hu - hu.min()) / np.ptp(hu),
    "above 3500": lambda hu: (hu - hu.min()) * (65535 // np.ptp(hu)) - 200,
}


@pytest.fixture(scope="module")
def phantoms():
    return [render_case(case) for case in draw_cohort(SMALL)[:4]]


def around(phantom, margin: int) -> np.ndarray:
    """Cut a scan to the box of its lesion and a margin."""
    drawn = np.argwhere(phantom.mask)
    low, high = drawn.min(axis=0) - margin, drawn.max(axis=0) + margin + 1
    part = tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))
    return phantom.hu[part].astype(int)


def test_no_phantom_is_suspected(phantoms):
    for phantom in phantoms:
        for volume in (phantom.hu.astype(int), around(phantom, 0), around(phantom, 10)):
            assert hu_doubt(volume.ravel()) is None
            for padding in (-1024, 0, -3024):
                padded = np.pad(volume, 12, constant_values=padding)
                assert hu_doubt(padded.ravel()) is None


@pytest.mark.parametrize("how", WRONG)
def test_values_that_are_not_hu_are_noticed(phantoms, how):
    for phantom in phantoms:
        wrong = WRONG[how](phantom.hu.astype(int))
        for volume in (wrong, np.pad(wrong, 12, constant_values=wrong.min())):
            assert how in str(hu_doubt(volume.ravel()))


def test_check_notes_the_nifti_that_is_shifted_or_scaled(study, phantoms):
    """Of 36 scans one is shifted and one scaled; one is cropped, one padded, one drawn by hand."""
    phantom, rows = phantoms[0], cohort_rows()
    scan = phantom.hu[::2, ::2, ::2].astype(int)
    mask = phantom.mask[::2, ::2, ::2].astype(np.uint8)
    affine = phantom.affine @ np.diag([2, 2, 2, 1])
    for number, row in enumerate(rows):
        hu = scan + np.random.default_rng(number).integers(-40, 40, scan.shape)
        drawn = mask
        if number == 0:
            hu = WRONG["1024 was added"](hu)
        if number == 1:
            hu = WRONG["scaled to 8 bits"](hu)
        if number == 2:
            hu[:6] = hu[-6:] = -2000
        if number == 3:
            hu = np.where(np.arange(hu.shape[2]) % 2, 300, 0) * np.ones_like(hu)
        write_nifti(study.root / f"{row['case_id']}.nii", hu.astype(np.int16), affine)
        write_nifti(study.root / f"{row['case_id']}-mask.nii", drawn, affine)
        row.update(image=f"{row['case_id']}.nii", mask=f"{row['case_id']}-mask.nii")
    write_rows(study.cohort_csv, rows)
    done = ctbone("check", "--study", study.root, "--workers", 1)
    assert done.returncode == 0, done.stderr
    notes = [line for line in done.stdout.splitlines() if "HU" in line]
    assert [note.split(":")[1].split()[1] for note in notes] == ["C000", "C001"], done.stdout
    assert "1024 was added; export it again in HU" in notes[0]
    assert "scaled to 8 bits; export it again in HU" in notes[1]
