from __future__ import annotations

import json
import logging
import os
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from ctbone.cohort import Case
from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, convert_case, convert_series, grid_of, list_series
from ctbone.errors import CtboneError
from ctbone.nifti import NiftiError
from ctbone.study import record_of

from .writer import Plan, ramp, write_series

PLANTED = "XPLANTEDX"


def case_of(image, case_id="P1"):
    return Case(case_id, case_id, "benign", "internal", image, None)


def plant(path):
    """Write a secret into every text element, a private one too."""
    dataset = pydicom.dcmread(path)
    kept = {
        "Modality",
        "ImageType",
        "SOPClassUID",
        "SeriesInstanceUID",
        "StudyInstanceUID",
        "PhotometricInterpretation",
    }
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientComments", "AccessionNumber", "InstitutionName",
        "ReferringPhysicianName", "SeriesDescription", "StudyDescription", "ProtocolName", "ConvolutionKernel",
        "Manufacturer", "ManufacturerModelName", "StationName", "ContrastBolusAgent", "ImageComments",
    ):  # fmt: skip
        assert keyword not in kept
        setattr(dataset, keyword, "20190307" if keyword.endswith("Date") else f"{PLANTED}^19771")
    dataset.private_block(0x0029, "SECRET", create=True).add_new(1, "LO", PLANTED)
    dataset.save_as(path)


def test_nothing_private_comes_out(tmp_path, capfd, caplog):
    caplog.set_level(logging.DEBUG)
    folder = tmp_path / "exam"
    paths = write_series(folder / f"{PLANTED}_dir", Plan(ramp()), prefix=PLANTED)
    for path in paths:
        plant(path)
    uid = pydicom.dcmread(paths[0]).SeriesInstanceUID
    out = convert_series(folder, tmp_path / "out.nii", DicomSettings())
    told = record_of(out).read_text() + repr(nib.load(out).header.items())
    paths[2].unlink()
    broken = paths[1].read_bytes()
    with pytest.raises(CtboneError) as caught:
        convert_series(folder, tmp_path / "no.nii", DicomSettings())
    told += str(caught.value) + repr(caught.value)
    write_series(folder / f"{PLANTED}_dir", Plan(ramp()), prefix=PLANTED)
    paths[1].write_bytes(broken[:-20])
    with pytest.raises(CtboneError) as caught:
        convert_series(folder, tmp_path / "no.nii", DicomSettings())
    told += str(caught.value)
    told += "".join(str(series.name) + series.reason for series in list_series(folder, DicomSettings()))
    told += "".join(capfd.readouterr()) + "".join(record.message for record in caplog.records if record.name != "root")
    for secret in (PLANTED, "19771", "20190307", uid, "1.2.3.4"):
        assert secret not in told
    assert not (tmp_path / "no.nii").exists()


def test_a_series_becomes_a_case(study, tmp_path):
    plan = Plan(ramp(low=900))
    write_series(tmp_path / "exam", plan)
    case = case_of(tmp_path / "exam")
    out = convert_case(study, case)
    image = nib.load(out)
    assert out == study.nifti("P1")
    assert image.get_data_dtype() == np.int16
    assert (int(image.header["qform_code"]), int(image.header["sform_code"])) == (1, 1)
    np.testing.assert_allclose(image.get_sform(), plan.affine, atol=1e-4)
    np.testing.assert_allclose(image.get_qform(), plan.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(image.dataobj), plan.stored.transpose(2, 1, 0).astype(int) - 1024)
    itk = sitk.ReadImage(str(out))
    np.testing.assert_allclose(itk.GetOrigin(), plan.origin, atol=1e-4)
    record = json.loads(record_of(out).read_text())
    assert record["scan"] == {
        "kernel": "STANDARD",
        "kvp": 120.0,
        "mas": None,
        "thickness_mm": 2.5,
        "manufacturer": "Siemens",
        "model": "",
    }
    assert record["air_voxels"] == int((plan.stored < 0).sum() + (plan.stored.astype(int) - 1024 < -1024).sum())
    np.testing.assert_allclose(grid_of(study, case).affine, image.affine, atol=1e-4)
    assert grid_of(study, case).shape == image.shape


def test_only_what_changed_is_converted_again(study, tmp_path):
    paths = write_series(tmp_path / "exam", Plan(ramp()))
    case = case_of(tmp_path / "exam")
    out = convert_case(study, case)
    first = out.stat().st_mtime_ns
    assert convert_case(study, case).stat().st_mtime_ns == first
    out.write_bytes(out.read_bytes()[:-9])
    assert nib.load(convert_case(study, case)).get_fdata().shape == (10, 12, 5)
    second = out.stat().st_mtime_ns
    os.utime(paths[0], ns=(1, 1))
    assert convert_case(study, case).stat().st_mtime_ns > second
    record_of(out).write_text("{")
    third = out.stat().st_mtime_ns
    assert convert_case(study, case).stat().st_mtime_ns > third


def test_one_file_of_a_series_names_the_series(study, tmp_path):
    write_series(tmp_path / "exam" / "1", Plan(ramp(5)))
    paths = write_series(tmp_path / "exam" / "2", Plan(ramp(6)))
    assert nib.load(convert_case(study, case_of(paths[4]))).shape == (10, 12, 6)


def test_errors_name_the_case_and_the_users_path(study, tmp_path):
    write_series(tmp_path / "exam", Plan(ramp(), positions=(0, 1, 2, 5, 6)))
    with pytest.raises(DicomError) as caught:
        convert_case(study, case_of(tmp_path / "exam"))
    assert caught.value.case == "P1"
    assert caught.value.file == str(tmp_path / "exam")
    assert "missing slices at 103.00, 104.00 mm" in str(caught.value)
    with pytest.raises(DicomError, match="case P1: the image does not exist"):
        convert_case(study, case_of(tmp_path / "gone"))
    assert not study.nifti("P1").exists()


def test_a_nifti_is_checked_and_written_as_int16(study, tmp_path):
    data = np.array([-3024.0, -1024.4, 39.6, 70000.0] * 15).reshape(3, 4, 5)
    path = tmp_path / "in.nii.gz"
    nib.save(nib.Nifti1Image(data, np.diag([-1.0, 2.0, 3.0, 1.0])), path)
    out = convert_case(study, case_of(path))
    image = nib.load(out)
    assert image.get_data_dtype() == np.int16
    assert sorted(np.unique(np.asarray(image.dataobj))) == [-1024, 40, 32767]
    np.testing.assert_array_equal(image.affine, np.diag([-1.0, 2.0, 3.0, 1.0]))
    assert json.loads(record_of(out).read_text())["air_voxels"] == 30


def test_a_nifti_with_nan_is_refused(study, tmp_path):
    data = np.zeros((3, 3, 3), np.float32)
    data[1, 1, 1] = np.nan
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "in.nii")
    with pytest.raises(DicomError, match="1 voxels NaN or infinite"):
        convert_case(study, case_of(tmp_path / "in.nii"))
    (tmp_path / "bad.nii.gz").write_bytes(b"no gzip")
    with pytest.raises(NiftiError, match="case P1"):
        convert_case(study, case_of(tmp_path / "bad.nii.gz"))


def test_the_output_must_be_nifti(tmp_path):
    write_series(tmp_path / "exam", Plan(ramp()))
    with pytest.raises(DicomError, match=r"ends in \.nii"):
        convert_series(tmp_path / "exam", tmp_path / "out.mha", DicomSettings())


def test_values_that_need_float_stay_float(tmp_path):
    write_series(tmp_path / "exam", replace(Plan(ramp()), slope=0.25))
    image = nib.load(convert_series(tmp_path / "exam", tmp_path / "out.nii.gz", DicomSettings()))
    assert image.get_data_dtype() == np.float32
    assert image.get_fdata()[1, 0, 0] == -1023.75
