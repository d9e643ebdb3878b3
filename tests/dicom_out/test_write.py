"""The written objects against the planned lesion, heat and answer, read without ctbone."""

import re
import shutil
import subprocess

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from scipy.interpolate import RegularGridInterpolator

from ctbone.cohort import Case
from ctbone.dicom_out import DicomOutError, write_dicom
from tests.dicom.writer import write_enhanced
from tests.dicom_out.answers import (
    ANSWER,
    NAME,
    SHAPE,
    ball,
    frames,
    heat_of,
    middle_of,
    plan_of,
    settings_of,
    written,
)

TILT = np.radians(18)
OBLIQUE = ((1.0, 0.0, 0.0), (0.0, float(np.cos(TILT)), float(-np.sin(TILT))))
GAPS = (0, 1, 1.13, 2.37, 2, 1.21, 1, 1.4, 2.9, 2.45, 2, 1.6)
SERIES = {
    "regular": {},
    "uneven": {"positions": tuple(np.cumsum(GAPS))},
    "tilted": {"directions": OBLIQUE, "gap": 3.0, "shift": (0.0, 0.95, 0.0)},
    "oblique": {"directions": OBLIQUE},
}
ALLOWED_WARNINGS = (
    # dciodvfy of 2022 does not know this term of CID 7463 (PS3.3 table C.8.32-1).
    "Unrecognized defined term <QUANTITY>",
    # ctbone's own codes: class names that no standard has.
    "Unrecognized defined term <99CTBONE>",
    # The source has no StudyID or name; type 2 attributes are written empty, as in the source.
    "Missing attribute or value that would be needed to build DICOMDIR",
    # The name is written as in the source, also one without a caret.
    "Retired Person Name form",
    # Empty: whether the body part is one of a pair is unknown. Absent would be an error.
    "is only permitted to be empty when actually unknown",
)
needs_validator = pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy")


@pytest.fixture(scope="module", params=SERIES)
def objects(request, tmp_path_factory):
    plan = plan_of(**SERIES[request.param])
    folder = tmp_path_factory.mktemp(request.param)
    done, made = written(folder, plan, PatientName=NAME, SpecificCharacterSet="ISO_IR 192")
    return plan, folder, done, made


def test_the_segmentation_is_the_mask_on_the_source_slices(objects):
    plan, folder, _, made = objects
    mask = nibabel.load(folder / "mask.nii.gz")
    axes = [
        np.arange(n) * step + start
        for n, step, start in zip(
            mask.shape, mask.header.get_zooms(), mask.affine[:3, 3], strict=True
        )
    ]
    inside = RegularGridInterpolator(axes, mask.get_fdata(), bounds_error=False, fill_value=0.0)
    segmentation = made["segmentation.dcm"]
    sources = {str(one.SOPInstanceUID): one for one in read(folder / "in")}
    seen = set()
    for pixels, places, source in frames(segmentation):
        expected = inside(places * [-1, -1, 1]) >= 0.5 - 1e-4
        np.testing.assert_array_equal(pixels > 0, expected)
        assert pixels.any()
        np.testing.assert_allclose(places[0, 0], sources[source].ImagePositionPatient, atol=1e-6)
        seen.add(source)
    for uid, one in sources.items():
        if uid not in seen:
            corner = np.array(one.ImagePositionPatient, float)
            height = (middle_of(plan) - corner) @ plan.normal
            assert abs(height) > 6.5  # a ball of 7 mm
    assert segmentation.SegmentSequence[0].SegmentAlgorithmType == "MANUAL"
    region = segmentation.SegmentSequence[0].AnatomicRegionSequence[0]
    assert (region.CodeValue, region.CodingSchemeDesignator) == ("54735007", "SCT")


def test_the_heat_map_is_the_map_on_the_source_slices(objects):
    plan, _, _, made = objects
    heat = made["heat_map.dcm"]
    (mapping,) = heat.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert (heat.BitsAllocated, heat.file_meta.TransferSyntaxUID) == (16, "1.2.840.10008.1.2.5")
    assert heat.ContentQualification == "RESEARCH"
    quantity = mapping.QuantityDefinitionSequence[0].ConceptCodeSequence[0]
    assert (quantity.CodeValue, quantity.CodingSchemeDesignator) == ("130403", "DCM")
    middle, half = middle_of(plan), 15.0  # the cube's outermost voxel centres, mm
    for pixels, places, _ in frames(heat):
        values = pixels * mapping.RealWorldValueSlope + mapping.RealWorldValueIntercept
        assert pixels.any()
        at = places - middle
        inner = (np.abs(at) < half - 2.5).all(axis=-1)
        expected = (at[..., 2] + half) / (2 * half)
        assert np.abs(values - expected)[inner].max(initial=0) < 1 / 65535 + 1e-5
        assert not values[(np.abs(at) > half + 1.1).any(axis=-1)].any()
    assert 3 <= heat.NumberOfFrames < SHAPE[0] + 1


def test_the_report_reads_back(objects):
    _, _, done, made = objects
    report = hd.sr.srread(done.folder / "report.dcm")
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    (probability,) = group.get_measurements()
    assert (probability.name.value, probability.name.scheme_designator) == ("111047", "DCM")
    assert (probability.value, probability.unit.value) == (87.3456, "%")
    (finding,) = group.get_qualitative_evaluations(hd.sr.CodedConcept("CLASS", "99CTBONE", "any"))
    assert (finding.value.value, finding.value.scheme_designator) == ("21594007", "SCT")
    assert [one.value.value for one in group.finding_sites] == ["54735007"]
    segment = group.referenced_segment
    segmentation = made["segmentation.dcm"]
    assert segment.referenced_sop_instance_uid == segmentation.SOPInstanceUID
    assert group.tracking_uid == segmentation.SegmentSequence[0].TrackingUID
    referenced = {one.referenced_sop_instance_uid for one in segment.source_images_for_segmentation}
    assert referenced == {source for _, _, source in frames(segmentation)}
    texts = " ".join(content_texts(report))
    assert "For research only" in texts
    assert "above the training range" in texts
    assert "touches the border" in texts
    words = {item.ConceptNameCodeSequence[0].CodeValue for item in items(report)}
    assert {"111001", "111003", "370129005"} <= words
    values = {
        item.ConceptCodeSequence[0].CodeValue for item in items(report) if item.ValueType == "CODE"
    }
    assert "123110" in values
    assert report.VerificationFlag == "UNVERIFIED"


def test_all_belong_to_the_patient_and_the_examination_of_the_source(objects):
    _, folder, _, made = objects
    source = read(folder / "in")[0]
    assert {"report.dcm", "segmentation.dcm", "heat_map.dcm", "picture_001.dcm"} <= set(made)
    for name, one in made.items():
        assert str(one.PatientName) == NAME, name
        assert one.PatientID == source.PatientID
        assert one.StudyInstanceUID == source.StudyInstanceUID
        assert one.SeriesInstanceUID != source.SeriesInstanceUID
        assert one.SeriesDescription.startswith("Research use only")
    for name in ("segmentation.dcm", "heat_map.dcm"):
        assert made[name].FrameOfReferenceUID == source.FrameOfReferenceUID
    assert len({one.SOPInstanceUID for one in made.values()}) == len(made)


@needs_validator
def test_the_validator_finds_no_error(objects):
    for path in objects[2].files:
        assert_valid(path)


def test_pictures_show_slice_outline_and_heat(objects):
    _, _, _, made = objects
    pictures = [one for name, one in made.items() if name.startswith("picture")]
    assert len(pictures) >= made["heat_map.dcm"].NumberOfFrames - 1
    for one in pictures:
        assert one.pixel_array.shape == (one.Rows, one.Columns, 3)
        assert one.BurnedInAnnotation == "NO"
    sides = {tuple(one.PatientOrientation) for one in pictures}
    assert sides <= {("L", "P"), ("L", "PF")}
    picture = pictures[len(pictures) // 2].pixel_array
    orange = (np.abs(picture.astype(int) - [255, 176, 0]) < 2).all(axis=-1)
    assert orange.sum() > 100


def test_source_headers_with_gaps(tmp_path):
    """Absent and empty attributes, and a de-identification that does not say how."""
    absent = ("StudyTime", "PatientPosition", "SliceThickness", "SeriesNumber", "AcquisitionNumber")
    _, made = written(
        tmp_path, plan_of(), **dict.fromkeys(absent),
        PatientIdentityRemoved="YES", DeidentificationMethod="", PatientSex="X",
        AccessionNumber="12345678901234567890",
    )  # fmt: skip
    for name, one in made.items():
        for keyword in (
            *("PatientBirthDate", "PatientSex", "StudyTime", "StudyID", "ReferringPhysicianName"),
        ):
            assert keyword in one, (name, keyword)
        assert one.PatientSex == ""
        assert one.DeidentificationMethod == "not stated by the source"
        assert one.AccessionNumber == "12345678901234567890"


@needs_validator
def test_source_headers_with_gaps_are_valid(tmp_path):
    absent = ("StudyTime", "PatientPosition", "SliceThickness", "SeriesNumber", "StudyDate")
    done, _ = written(
        tmp_path,
        plan_of(),
        **dict.fromkeys(absent),
        PatientIdentityRemoved="YES",
        DeidentificationMethod="",
    )
    for path in done.files:
        assert_valid(path)


def test_a_probability_in_per_cent_is_not_a_share():
    """The trap: 0.873 with the unit % passes every validator."""
    for share, shown in ((0.873456, 87.3456), (0.004, 0.4), (1.0, 100.0)):
        from ctbone.dicom_out.report import _measurements

        answer = {**ANSWER, "answers": {"both": {**ANSWER["answers"]["both"]}}}
        answer["answers"]["both"]["probabilities"] = {"benign": 1 - share, "malignant": share}
        (one,) = _measurements(answer, settings_of())
        (item,) = (item for item in one if item.ValueType == "NUM")
        (value,) = item.MeasuredValueSequence
        assert float(value.NumericValue) == pytest.approx(shown)
        assert value.MeasurementUnitsCodeSequence[0].CodeValue == "%"


def test_classes_without_a_code_of_a_standard(tmp_path):
    classes = ["benign", "infection", "a_very_long_name_of_a_class"]
    answer = {**ANSWER, "answer": "3d", "answers": {"3d": {
        **ANSWER["answers"]["both"], "threshold": None, "class": "infection",
        "probabilities": dict(zip(classes, (0.2, 0.5, 0.3), strict=True)),
        "conformal": {"set": []},
    }}}  # fmt: skip
    from ctbone.dicom_out.report import _evaluations, _measurements

    settings = settings_of(classes=classes)
    values = [item for one in _measurements(answer, settings) for item in one]
    codes = [one.ConceptNameCodeSequence[0].CodeValue for one in values if one.ValueType == "NUM"]
    assert codes[:2] == ["P-BENIGN", "P-INFECTION"]
    assert len(set(codes)) == 3
    assert all(len(code) <= 16 for code in codes)
    told = [item.ConceptCodeSequence[0].CodeValue for one in _evaluations(answer) for item in one]
    assert told == ["C-INFECTION", "ABSTAINS"]


def test_without_heat_the_reason_is_in_the_report(tmp_path):
    done, made = written(tmp_path, plan_of(), heat="the network 'x' has no layer with a grid")
    assert set(made) == {"report.dcm", "segmentation.dcm"}
    assert "No heat map: the network 'x' has no layer" in " ".join(
        content_texts(made["report.dcm"])
    )
    assert "no heat map" in str(done)


def test_an_enhanced_source(tmp_path):
    """Frames in another order than in space: the objects name the right ones."""
    plan = plan_of()
    order = np.random.default_rng(1).permutation(SHAPE[0]).tolist()
    path = write_enhanced(tmp_path / "in" / "e.dcm", plan, order)
    case = Case("new", "new", "", "new", path.parent, ball(tmp_path / "mask.nii.gz", plan))
    done = write_dicom(ANSWER, case, settings_of(), out=tmp_path / "out", heat=heat_of(plan))
    made = {path.name: pydicom.dcmread(path) for path in done.files}
    segmentation = made["segmentation.dcm"]
    source = pydicom.dcmread(path)
    numbers = []
    for own in segmentation.PerFrameFunctionalGroupsSequence:
        (image,) = own.DerivationImageSequence[0].SourceImageSequence
        assert image.ReferencedSOPInstanceUID == source.SOPInstanceUID
        frame = source.PerFrameFunctionalGroupsSequence[image.ReferencedFrameNumber - 1]
        there = own.PlanePositionSequence[0].ImagePositionPatient
        assert there == frame.PlanePositionSequence[0].ImagePositionPatient
        numbers.append(image.ReferencedFrameNumber)
    for pixels, places, _ in frames(segmentation):
        distance = np.linalg.norm(places - middle_of(plan), axis=-1)
        assert pixels[distance < 6.4].all()
        assert not pixels[distance > 7.6].any()
    report = hd.sr.srread(tmp_path / "out" / "report.dcm")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    (image,) = group.referenced_segment.source_images_for_segmentation
    assert sorted(image.referenced_frame_numbers) == sorted(numbers)
    if shutil.which("dciodvfy"):
        for path in done.files:
            assert_valid(path)


def test_objects_of_an_earlier_answer_are_removed(tmp_path):
    written(tmp_path, plan_of())
    (tmp_path / "out" / "mine.dcm").write_bytes(b"kept")
    shutil.rmtree(tmp_path / "in")
    done, _ = written(tmp_path, plan_of(), heat="none")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"report.dcm", "segmentation.dcm", "mine.dcm"}
    assert len(done.files) == 2


@pytest.mark.parametrize("keyword", ["FrameOfReferenceUID", "SOPInstanceUID", "StudyInstanceUID"])
def test_a_series_without_a_uid_is_refused(tmp_path, keyword):
    with pytest.raises(DicomOutError, match=f"no {keyword}") as caught:
        written(tmp_path, plan_of(), **{keyword: None})
    assert "PLANTED" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_logs_and_messages_hold_no_name(tmp_path, capfd, caplog):
    bad = "PLANTED^A^B^C^D^E^F"  # more components than a name has, which highdicom logs
    _, made = written(tmp_path, plan_of(), PatientName=bad)
    assert str(made["report.dcm"].PatientName) == bad
    told = capfd.readouterr()
    assert "PLANTED" not in told.out + told.err + caplog.text


def read(folder):
    return [pydicom.dcmread(path) for path in sorted(folder.iterdir())]


def items(dataset):
    for item in dataset.get("ContentSequence", []):
        yield item
        yield from items(item)


def content_texts(dataset):
    return [item.TextValue for item in items(dataset) if item.ValueType == "TEXT"]


def assert_valid(path):
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False)
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
    assert [line for line in lines if line.startswith("Error")] == [], path.name
    warnings = [line for line in lines if line.startswith("Warning")]
    assert [one for one in warnings if not one_of(one)] == [], path.name
    assert done.returncode == 0


def one_of(warning):
    return any(re.search(re.escape(one), warning) for one in ALLOWED_WARNINGS)
