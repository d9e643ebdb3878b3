"""``ctbone predict --dicom``: identity only in the DICOM objects, the answer unchanged."""

import json
import shutil

import numpy as np
import pydicom
import pytest

import ctbone as ct
from ctbone.dicom_out import DicomOutError
from ctbone.errors import PacsError
from ctbone.study import Study
from tests.dicom_out.answers import frames
from tests.pacs.test_pull import PRIVATE, with_private_data
from tests.release.clinic_study import volume_of, write_dicom, write_mask
from tests.release.tiny_release import tiny_release
from tests.test_cli import ctbone


@pytest.fixture(scope="module")
def clinic(tmp_path_factory):
    """A model file, a series with a planted token in every header, and its mask."""
    folder = tmp_path_factory.mktemp("clinic")
    tiny_release(folder / "tiny.ctbone", folds=2)
    values, mask = volume_of(100, hu=400)
    plan = write_dicom(folder / "in", values)
    with_private_data(sorted((folder / "in").iterdir()))
    for path in (folder / "in").iterdir():
        dataset = pydicom.dcmread(path)
        dataset.PatientName, dataset.PatientID = f"{PRIVATE}^ANNA", f"{PRIVATE}7"
        dataset.save_as(path)
    write_mask(folder / "mask.nii.gz", mask, affine=plan.affine)
    return folder, mask


@pytest.fixture(scope="module")
def done(clinic):
    folder, _ = clinic
    run = ctbone(
        "predict", folder / "in", "--mask", folder / "mask.nii.gz", "--model",
        folder / "tiny.ctbone", "--out", folder / "answers", "--dicom", folder / "dicom", "--json",
        cwd=folder,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    return run


def test_the_name_is_in_the_dicom_objects_and_nowhere_else(clinic, done):
    folder, _ = clinic
    private = PRIVATE.encode()
    assert PRIVATE not in done.stdout + done.stderr
    kept = [path for path in (folder / "answers").rglob("*") if path.is_file()]
    assert {path.name for path in kept} == {"new.json", "answers.csv"}
    assert not any(private in path.read_bytes() for path in kept)
    uids = {str(pydicom.dcmread(path).SOPInstanceUID) for path in (folder / "in").iterdir()}
    answer = (folder / "answers" / "new.json").read_text()
    assert not any(uid in answer for uid in uids)
    made = sorted((folder / "dicom" / "new").iterdir())
    assert {"report.dcm", "segmentation.dcm", "heat_map.dcm"} <= {path.name for path in made}
    for path in made:
        assert private in path.read_bytes()
        one = pydicom.dcmread(path)
        assert one.PatientName == f"{PRIVATE}^ANNA"
        # Of the planted texts only the patient and the examination are copied.
        for keyword in ("InstitutionName", "OperatorsName", "ProtocolName"):
            assert PRIVATE not in str(one.get(keyword, ""))


def test_the_report_has_the_probability_of_the_json(clinic, done):
    folder, _ = clinic
    answer = json.loads(done.stdout)
    p = answer["answers"]["3d"]["probabilities"]["malignant"]
    report = pydicom.dcmread(folder / "dicom" / "new" / "report.dcm")
    values = [float(one.MeasuredValueSequence[0].NumericValue) for one in numbers(report)]
    assert values == [pytest.approx(100 * p, abs=1e-3)]
    assert 0 < p < 1


def test_the_segmentation_is_the_mask_voxel_by_voxel(clinic, done):
    folder, mask = clinic
    segmentation = pydicom.dcmread(folder / "dicom" / "new" / "segmentation.dcm")
    slices = {
        str(one.SOPInstanceUID): int(one.InstanceNumber) - 1
        for one in map(pydicom.dcmread, (folder / "in").iterdir())
    }
    found = np.zeros(mask.shape, bool)
    for pixels, _, source in frames(segmentation):
        found[:, :, slices[source]] = pixels.T > 0
    np.testing.assert_array_equal(found, mask > 0)


def test_the_answer_does_not_depend_on_the_objects(clinic, done):
    folder, _ = clinic
    plain = ct.predict(
        image=folder / "in", mask=folder / "mask.nii.gz", model=folder / "tiny.ctbone"
    )
    assert json.loads(done.stdout) == plain.answers[0]
    assert plain.dicom is None


def test_the_study_folder_takes_no_dicom_objects(clinic, tmp_path):
    folder, _ = clinic
    (tmp_path / "study.yaml").write_text("name: test\n")
    with pytest.raises(DicomOutError, match="lies in the study folder"):
        ct.predict(
            Study.open(tmp_path),
            image=folder / "in",
            mask=folder / "mask.nii.gz",
            dicom=tmp_path / "dicom",
        )
    assert not (tmp_path / "dicom").exists()


def test_a_nifti_image_has_no_series(clinic, tmp_path):
    folder, _ = clinic
    with pytest.raises(DicomOutError, match="NIfTI image has no DICOM series"):
        ct.predict(
            image=shutil.copy(folder / "mask.nii.gz", tmp_path / "image.nii.gz"),
            mask=folder / "mask.nii.gz",
            model=folder / "tiny.ctbone",
            dicom=tmp_path / "dicom",
        )


def test_a_pacs_that_is_down_leaves_the_answer(clinic, tmp_path):
    folder, _ = clinic
    found = ct.predict(
        image=folder / "in",
        mask=folder / "mask.nii.gz",
        model=folder / "tiny.ctbone",
        out=tmp_path / "answers",
        push="dicom://PACS@127.0.0.1:9",
    )
    (problem,) = found.problems
    assert isinstance(problem, PacsError)
    assert "--dicom DIR" in str(problem)
    assert (tmp_path / "answers" / "new.json").is_file()
    with pytest.raises(PacsError, match="not complete"):
        ct.predict(
            image=folder / "in",
            mask=folder / "mask.nii.gz",
            model=folder / "tiny.ctbone",
            push="ftp://host",
        )


def numbers(dataset):
    for item in dataset.get("ContentSequence", []):
        if item.ValueType == "NUM":
            yield item
        yield from numbers(item)
