from __future__ import annotations

import subprocess
from dataclasses import replace

import dcm2niix
import dicom2nifti
import dicom2nifti.settings
import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, convert_series, headers, list_series, read_series
from ctbone.dicom.headers import read_frames, walk
from ctbone.hounsfield import AIR

from .data import real_data

SETTINGS = DicomSettings()


def reasons(folder):
    return [series.reason for series in list_series(folder, SETTINGS)]


def by_dcm2niix(folder, out):
    out.mkdir()
    command = [
        dcm2niix.bin,
        "-z",
        "n",
        "-b",
        "n",
        "-i",
        "y",
        "-f",
        "%s",
        "-o",
        str(out),
        str(folder),
    ]
    subprocess.run(command, capture_output=True, check=False)
    images = [nib.load(path) for path in out.glob("*.nii")]
    (image,) = [image for image in images if image.shape[2] >= 3]
    return nib.as_closest_canonical(image)


@pytest.mark.parametrize("name", ["philips_exam", "with_seg"])
def test_real_series_equal_those_of_dcm2niix(tmp_path, name):
    folder = real_data(f"dicom/{name}")
    ours = nib.as_closest_canonical(
        nib.load(convert_series(folder, tmp_path / "ours.nii.gz", SETTINGS))
    )
    theirs = by_dcm2niix(folder, tmp_path / "theirs")
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(
        np.asarray(ours.dataobj), np.maximum(np.asarray(theirs.dataobj), AIR)
    )


@pytest.mark.parametrize("name", ["philips_exam/S2010", "with_seg"])
def test_real_series_equal_those_of_dicom2nifti(tmp_path, monkeypatch, name):
    monkeypatch.setattr(dicom2nifti.settings, "validate_slicecount", False)
    folder = real_data(f"dicom/{name}")
    ours = nib.as_closest_canonical(
        nib.load(convert_series(folder, tmp_path / "ours.nii.gz", SETTINGS))
    )
    dicom2nifti.dicom_series_to_nifti(str(folder), str(tmp_path / "theirs.nii"))
    theirs = nib.as_closest_canonical(nib.load(tmp_path / "theirs.nii"))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(
        np.asarray(ours.dataobj), np.maximum(np.asarray(theirs.dataobj), AIR)
    )


def test_the_fast_reader_reads_every_real_header_as_pydicom_does():
    fast = 0
    for path in walk(real_data("dicom")):
        frames = read_frames(path)
        with path.open("rb") as file:
            start = file.read(132)
            file.seek(0)
            if start[128:] != b"DICM":
                assert frames == "not a DICOM file"
                continue
            expected = headers._read_any(path, file)
        fast += frames[0].pixels is not None
        assert [replace(frame, pixels=None) for frame in frames] == expected
    assert fast > 80


def test_the_axial_series_of_an_exam_is_found_by_itself():
    found = list_series(real_data("dicom/philips_exam"), SETTINGS)
    (taken,) = [series for series in found if series.verdict == "taken"]
    assert (taken.slices, taken.kernel, taken.thickness) == (28, "UB", 5.0)
    assert {path.parent.name for path in taken.files} == {"S2010"}
    others = {series.reason for series in found if series.verdict != "taken"}
    assert others == {
        "localizer",
        "secondary capture or other object, not a CT image",
        "no image (directory, dose or structured report)",
    }
    assert sum(len(series.files) for series in found) == 39


def test_an_enhanced_file_is_a_volume(tmp_path):
    folder = real_data("dicom/enhanced")
    ours = nib.as_closest_canonical(
        nib.load(convert_series(folder, tmp_path / "ours.nii", SETTINGS))
    )
    theirs = by_dcm2niix(folder, tmp_path / "theirs")
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(ours.dataobj), np.asarray(theirs.dataobj))


def test_a_doubled_slice_and_holes_are_named():
    (reason,) = reasons(real_data("dicom/duplicate_positions"))
    assert reason.startswith(
        "duplicate slices at -90.00 mm along the normal; missing slices at -510.00, -507.50"
    )


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gantrytilting", "gantry tilt of 14.0°"),
        ("notavolume", "all 4 slices are at one position, 61.50 mm along the normal"),
        ("slicecount", "modality MR, not CT"),
        ("sliceincrement", "missing slices at 33.11 mm along the normal"),
        ("sliceorientation", "modality MR, not CT"),
    ],
)
def test_what_is_no_volume_is_refused_with_its_cause(tmp_path, name, reason):
    folder = real_data(f"dicom/rejects/{name}")
    assert reasons(folder) == [reason]
    with pytest.raises(DicomError) as caught:
        convert_series(folder, tmp_path / "out.nii", SETTINGS)
    assert reason in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_tilted_uneven_series_is_refused_or_resampled(tmp_path):
    folder = real_data("dicom/ge_tilt_variable_spacing")
    assert reasons(folder) == ["gantry tilt of 18.5° and uneven gaps, 1.08 to 7.00 mm"]
    (series,) = list_series(folder, DicomSettings(irregular="resample"))
    volume = read_series(series)
    directions = volume.affine[:3, :3] / volume.grid.spacing
    np.testing.assert_allclose(np.abs(directions), np.eye(3), atol=1e-6)
    assert volume.grid.spacing == pytest.approx((0.4882812, 0.4882812, 4.22), abs=1e-3)
    # The slices themselves are found where they lie: sample the volume at voxels of some slices.
    for path in ("05.dcm", "14.dcm", "21.dcm", "27.dcm"):
        dataset = pydicom.dcmread(folder / path)
        rows, columns = np.mgrid[120:400:7, 120:400:7]
        along, down = np.split(np.array(dataset.ImageOrientationPatient, float), 2)
        step = np.array(dataset.PixelSpacing, float)
        lps = np.array(dataset.ImagePositionPatient, float)
        points = lps + columns[..., None] * along * step[1] + rows[..., None] * down * step[0]
        index = volume.grid.to_index((points * [-1, -1, 1]).reshape(-1, 3))
        got = ndimage.map_coordinates(volume.data.astype(float), index.T, order=1).reshape(
            rows.shape
        )
        truth = np.maximum(dataset.pixel_array[rows, columns], AIR)
        assert np.corrcoef(got.ravel(), truth.ravel())[0, 1] > 0.96


@pytest.mark.parametrize("scanner", ["CT1", "CT2"])
@pytest.mark.parametrize("syntax", ["J2KR", "JLSL", "JPLL", "RLE"])
def test_lossless_compression_gives_the_same_hu(tmp_path, scanner, syntax):
    folder = real_data("dicom/compressed")

    def volume(name):
        """Three copies of the slice at three positions: a volume in the file's transfer syntax."""
        target = tmp_path / name
        target.mkdir()
        for k in range(3):
            dataset = pydicom.dcmread(folder / name)
            x, y, z = dataset.ImagePositionPatient
            dataset.ImagePositionPatient = [x, y, z + 5 * k]
            dataset.save_as(target / str(k))
        (series,) = list_series(target, SETTINGS)
        return read_series(series)

    plain, packed = volume(f"{scanner}_UNC.dcm"), volume(f"{scanner}_{syntax}")
    np.testing.assert_array_equal(packed.data, plain.data)
    assert plain.data.min() == AIR
    air = {"CT1": 55772, "CT2": 56252}[scanner]
    assert 3 * air <= plain.air_voxels == packed.air_voxels < 3 * (air + 1000)
