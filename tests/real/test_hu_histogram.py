from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest

from ctbone.hu_histogram import hu_doubt
from tests.test_hu_histogram import WRONG

from .data import real_data


@pytest.fixture(scope="module")
def pelvis():
    return np.asarray(nib.load(real_data("pelvis_ct") / "ct.nii.gz").dataobj).astype(int)


def test_no_part_of_a_real_pelvis_is_suspected(pelvis):
    """300 boxes of 6 to 60 voxels a side, each also padded; boxes of almost pure air excepted."""
    random = np.random.default_rng(0)
    judged = 0
    while judged < 300:
        size = random.integers(6, 60, 3)
        low = [random.integers(0, max(1, n - k)) for n, k in zip(pelvis.shape, size, strict=True)]
        part = pelvis[tuple(slice(a, a + k) for a, k in zip(low, size, strict=True))]
        if (part > -300).mean() < 0.05:
            continue
        judged += 1
        paddings = [np.pad(part, 5, constant_values=value) for value in (0, -1024, -3024)]
        assert [hu_doubt(volume.ravel()) for volume in (part, *paddings)] == [None] * 4


@pytest.mark.parametrize("how", WRONG)
def test_a_real_pelvis_that_is_not_in_hu_is_noticed(pelvis, how):
    for part in (pelvis, pelvis[30:90, 25:75, 20:60]):
        assert how in str(hu_doubt(WRONG[how](part).ravel()))
