"""What counts as the same scan on a real pelvis; docs/method.md holds the values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ctbone.cohort import Case, Cohort
from ctbone.nifti import open_nifti, to_hu
from ctbone.same_scans import near_scans, shared_scans
from ctbone.scan_identity import identify, uid_keys

from .data import real_data

RANDOM = np.random.default_rng(0)
COHORT = Cohort(
    tuple(Case(name, name, "benign", "internal", Path(name), None) for name in ("A", "B"))
)


def noisy(hu, sd=1.0):
    return np.rint(hu + RANDOM.normal(0, sd, hu.shape)).astype(np.int16)


def rounded(hu):
    """The grey values 0–255 of an export in 8 bits."""
    return np.rint((np.clip(hu, -1024, 3071) + 1024) / 4095 * 255).astype(np.int16)


@pytest.fixture(scope="module")
def pelvis():
    file = open_nifti(real_data("pelvis_ct") / "ct.nii.gz")
    return to_hu(file.read())[0], file.grid.affine


def compared(pelvis, change, affine=None):
    hu, ours = pelvis
    none = uid_keys([], b"")
    other = identify(change(hu), ours if affine is None else affine, none)
    identities = {"A": identify(hu, ours, none), "B": other}
    shared = shared_scans(COHORT, identities)
    return shared, near_scans(COHORT, identities, shared)


@pytest.mark.parametrize("missing", [0, 30, 56, 90, 111])
def test_a_missing_slice_is_an_error(pelvis, missing):
    (error,), near = compared(pelvis, lambda hu: np.delete(hu, missing, axis=2))
    assert "111 of 111 slices identical" in str(error.found)
    assert near == []


def test_another_order_of_storage_is_an_error(pelvis):
    hu, affine = pelvis
    other = affine.copy()
    other[:3, 3] += other[:3, 0] * (hu.shape[0] - 1)
    other[:3, 0] *= -1
    (error,), _ = compared(pelvis, lambda hu: hu[::-1], other)
    assert "all voxels identical" in str(error.found)


@pytest.mark.parametrize(
    ("change", "least"),
    [
        (noisy, 0.99999),
        (lambda hu: noisy(hu, 20), 0.99995),
        (lambda hu: np.delete(noisy(hu), 0, axis=2), 0.9999),
        (lambda hu: np.delete(noisy(hu), 56, axis=2), 0.9999),
        (lambda hu: noisy(hu)[:, :, 1:-1], 0.999),
        (lambda hu: noisy(hu)[:, :, :-20], 0.9999),
        (rounded, 0.9999),
    ],
)
def test_an_altered_copy_is_near(pelvis, change, least):
    shared, (near,) = compared(pelvis, change)
    assert shared == []
    assert near.correlation > least


def test_a_body_moved_by_a_voxel_is_not_near(pelvis):
    assert compared(pelvis, lambda hu: noisy(np.roll(hu, 1, axis=0))) == ([], [])
