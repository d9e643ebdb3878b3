"""Objects of an answer on real series: a tilted one with uneven gaps, and an exam as exported."""

import shutil

import nibabel
import numpy as np
import pydicom
import pytest
from scipy.interpolate import RegularGridInterpolator

from ctbone.cohort import Case
from ctbone.config import DicomSettings
from ctbone.dicom import list_series
from ctbone.dicom_out import Heat, write_dicom
from ctbone.grid import Grid
from tests.dicom_out.answers import ANSWER, frames, settings_of
from tests.dicom_out.test_write import assert_valid
from tests.real.data import real_data

RADIUS = 16.0


@pytest.mark.parametrize("name", ["ge_tilt_variable_spacing", "philips_exam"])
def test_a_ball_in_a_real_series(tmp_path, name):
    folder = real_data(f"dicom/{name}")
    (series,) = (
        one
        for one in list_series(folder, DicomSettings(irregular="resample"))
        if one.verdict == "taken"
    )
    stack = series.stack
    columns, rows, _ = stack.shape
    middle = stack.positions[len(stack.positions) // 2]
    middle = middle + stack.row * stack.pixel[0] * columns * 0.5
    middle = middle + stack.column * stack.pixel[1] * rows * 0.4
    size = int(2 * RADIUS + 5)
    mask = np.linalg.norm(np.indices((size,) * 3) - size // 2, axis=0) <= RADIUS
    affine = np.eye(4)
    affine[:3, 3] = middle * [-1, -1, 1] - size // 2
    nibabel.save(nibabel.Nifti1Image(mask.astype(np.uint8), affine), tmp_path / "mask.nii.gz")
    edge = np.linspace(0, 1, 32)
    values = np.maximum.outer(np.maximum.outer(edge, edge), edge).astype(np.float32)
    cube = np.diag([2.0, 2.0, 2.0, 1.0])
    cube[:3, 3] = middle * [-1, -1, 1] - 31
    heat = Heat("3d", "malignant", 0.9, "denseblock2", 8.0, values, (Grid((32, 32, 32), cube),))
    case = Case("new", "new", "", "new", folder, tmp_path / "mask.nii.gz")
    done = write_dicom(ANSWER, case, settings_of(), out=tmp_path / "out", heat=heat)
    made = {path.name: pydicom.dcmread(path) for path in done.files}

    axes = [np.arange(size) + start for start in affine[:3, 3]]
    inside = RegularGridInterpolator(axes, mask.astype(float), bounds_error=False, fill_value=0)
    sources = {str(frame.instance) for frame in stack.frames}
    overlap = drawn = 0
    for pixels, places, source in frames(made["segmentation.dcm"]):
        expected = inside(places * [-1, -1, 1]) >= 0.5 - 1e-4
        overlap += int((expected & (pixels > 0)).sum())
        drawn += int(expected.sum()) + int((pixels > 0).sum())
        assert source in sources
    # Headers round orientations to 1e-6 or so: a pixel in a thousand may lie on the border.
    assert 2 * overlap / drawn > 0.999
    assert made["heat_map.dcm"].NumberOfFrames >= 3
    for one in made.values():
        assert one.StudyInstanceUID == pydicom.dcmread(stack.frames[0].path).StudyInstanceUID
    if shutil.which("dciodvfy"):
        for path in done.files:
            assert_valid(path)
