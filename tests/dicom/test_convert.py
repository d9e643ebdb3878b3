from __future__ import annotations

import json
import logging
import os
import warnings
from dataclasses import replace

import nibabel as nib
import numpy as np
import pydicom
import pydicom.uid as uids
import pytest
import SimpleITK as sitk  # noqa: N813

from ctbone.cli import _print_series
from ctbone.cohort import Case
from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, convert_case, convert_series, headers, list_series, read_header
from ctbone.errors import CtboneError, NiftiError
from ctbone.study import record_of

from .writer import Plan, ramp, write_series

PLANTED = "XPLANTEDX"


def case_of(image, case_id="P1"):
    return Case(case_id, case_id, "benign", "internal", image, None)


NEEDED = {
    "Modality", "ImageType", "SOPClassUID", "PhotometricInterpretation", "SpecificCharacterSet",
    "PresentationLUTShape", "RescaleType", "TransferSyntaxUID", "MediaStorageSOPClassUID",
}  # fmt: skip
SECRETS = {
    **dict.fromkeys(("LO", "SH", "ST", "LT", "UT", "UC", "UR", "CS", "AE"), PLANTED),
    "PN": f"{PLANTED}^JANE",
    "DA": "19770319",
    "TM": "135719",
    "DT": "19770319135719",
    "AS": "077Y",
    "UI": "1.2.19771.3",
}


def plant(path, kept=()):
    """Write a secret into every text element of the standard and into private elements."""
    dataset = pydicom.dcmread(path)
    series, study = dataset.SeriesInstanceUID, dataset.StudyInstanceUID
    for tag, (vr, count, _, retired, keyword) in pydicom.datadict.DicomDictionary.items():
        if keyword and keyword not in NEEDED and vr in SECRETS and tag >> 16 > 2 and not retired:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                dataset.add_new(
                    tag, vr, [SECRETS[vr]] * 2 if count.startswith("2") else SECRETS[vr]
                )
    dataset.SeriesInstanceUID, dataset.StudyInstanceUID = series, study
    for group in (0x0009, 0x0019, 0x0029):
        block = dataset.private_block(group, f"{PLANTED} MAKER", create=True)
        block.add_new(1, "LO", PLANTED)
        block.add_new(2, "UN", PLANTED.encode())
    dataset.file_meta.SourceApplicationEntityTitle = PLANTED
    dataset.preamble = PLANTED.encode().ljust(128, b"\0")
    for keyword in kept:
        setattr(dataset, keyword, kept[keyword])
    dataset.save_as(path)
    return [series, study, dataset.SOPInstanceUID, dataset.file_meta.MediaStorageSOPInstanceUID]


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("syntax", [uids.ExplicitVRLittleEndian, uids.RLELossless])
def test_nothing_private_comes_out(study, tmp_path, capfd, caplog, monkeypatch, syntax, general):
    caplog.set_level(logging.DEBUG)
    if general:
        monkeypatch.setattr(headers, "read_fast_header", lambda file, size: None)
    folder = tmp_path / "exam"
    paths = write_series(folder / f"{PLANTED}_dir", Plan(ramp(), syntax=syntax), prefix=PLANTED)
    secrets = {PLANTED, PLANTED.lower(), "1977", "135719", "077Y", "1.2.3.4", "JANE"}
    for path in paths:
        secrets.update(plant(path))
    (folder / f"{PLANTED}.txt").write_text(PLANTED)
    caplog.clear()
    (folder / f"{PLANTED}.dcm").write_bytes(paths[0].read_bytes()[:500])
    write_series(folder / "scout", Plan(ramp(), modality="OT", patient=PLANTED), prefix=PLANTED)
    outputs = [
        convert_series(folder, tmp_path / "out.nii", DicomSettings()),
        convert_case(study, case_of(folder)),
    ]
    texts = [path.read_bytes() for out in outputs for path in (out, record_of(out))]
    texts[1] = texts[1].replace(str(folder).encode(), b"")

    def listing(where):
        found = list_series(where, DicomSettings())
        _print_series(found)
        texts.extend(
            f"{one.name} {one.reason} {one.kernel} {one.modality}".encode() for one in found
        )

    def failing(where):
        with pytest.raises(CtboneError) as caught:
            convert_series(where, tmp_path / "no.nii", DicomSettings())
        texts.append((str(caught.value) + repr(caught.value.__cause__)).encode())
        with pytest.raises(CtboneError) as caught:
            convert_case(study, case_of(where, "P2"))
        texts.append(str(caught.value).encode())
        listing(where)

    listing(folder)
    whole = [path.read_bytes() for path in paths]
    paths[2].unlink()
    failing(folder)  # a missing slice
    for damaged in (
        whole[2][:-20],
        whole[2][: len(whole[2]) // 2],
        whole[2][:-100] + b"\xff" * 100,
        whole[1],
    ):
        paths[2].write_bytes(damaged)
        try:
            failing(folder)
        except pytest.fail.Exception:
            listing(folder)  # the damage left a slice that can be read
    for path, content in zip(paths, whole, strict=True):
        path.write_bytes(content)
        plant(path, {"Modality": PLANTED})
    caplog.clear()
    failing(folder)
    texts.append("".join(capfd.readouterr()).encode())
    texts += [record.getMessage().encode() for record in caplog.records]
    assert len(texts) > 20
    for secret in secrets:
        found = [text for text in texts if secret.encode() in text]
        assert not found, f"{secret} in {found[0][:300]!r}"


def test_header_values_that_are_kept_are_an_allow_list(tmp_path):
    paths = write_series(tmp_path / "exam", Plan(ramp()))
    for path in paths:
        plant(path, {"KVP": "120", "Manufacturer": "GE MEDICAL SYSTEMS", "ManufacturerModelName":
        "LightSpeed VCT",
                     "ConvolutionKernel": "BONEPLUS"})  # fmt: skip
    out = convert_series(tmp_path / "exam", tmp_path / "out.nii", DicomSettings())
    record = json.loads(record_of(out).read_text())
    assert record["scan"] == {
        "kernel": "BONEPLUS",
        "kvp": 120.0,
        "mas": None,
        "thickness_mm": 2.5,
        "manufacturer": "GE",
        "model": "LightSpeed VCT",
    }
    assert set(record) == {
        "from", "geometry", "scan", "air_voxels", "outside_voxels", "resampled", "note", "series",
        "settings", "stage", "ctbone", "pydicom", "contrast",
    }  # fmt: skip


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
    np.testing.assert_array_equal(
        np.asarray(image.dataobj), plan.stored.transpose(2, 1, 0).astype(int) - 1024
    )
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
    assert record["air_voxels"] == int(
        (plan.stored < 0).sum() + (plan.stored.astype(int) - 1024 < -1024).sum()
    )
    np.testing.assert_allclose(read_header(study, case).grid.affine, image.affine, atol=1e-4)
    assert read_header(study, case).grid.shape == image.shape


def test_only_changed_cases_are_converted_again(study, tmp_path):
    paths = write_series(tmp_path / "exam", Plan(ramp()))
    case = case_of(tmp_path / "exam")
    out = convert_case(study, case)
    first = out.stat().st_mtime_ns
    assert convert_case(study, case).stat().st_mtime_ns == first
    out.write_bytes(out.read_bytes()[:-9])
    assert nib.load(convert_case(study, case)).get_fdata().shape == (10, 12, 5)
    second = out.stat().st_mtime_ns
    os.utime(paths[0], ns=(1, 1))
    assert convert_case(study, case).stat().st_mtime_ns == second, "touched, not changed"
    header = pydicom.dcmread(paths[0])
    header.ImageComments = "exported again"
    header.save_as(paths[0])
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
