"""A volume is one scan of one patient: what is merged under one SeriesInstanceUID is separated."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from .writer import Plan, ramp, write_enhanced, write_series

PLAN = Plan(ramp(8, 6, 5), gap=2.0)


def edit(paths, *changes):
    """Apply each change (function of dataset and slice number) to the files of a series."""
    for k, path in enumerate(paths):
        dataset = pydicom.dcmread(path)
        for change in changes:
            change(dataset, k)
        dataset.save_as(path)


def setting(keyword, value_of):
    def change(dataset, k):
        value = value_of(k)
        if value is None and keyword in dataset:
            delattr(dataset, keyword)
        elif value is not None:
            setattr(dataset, keyword, value)

    return change


@pytest.mark.parametrize("order", ["interleaved", "one after the other"])
@pytest.mark.parametrize(
    ("keyword", "values", "message"),
    [
        ("PatientID", ("SECRET1", "SECRET2"), "2 patients in one series"),
        ("PatientID", ("SECRET1", None), "2 patients in one series"),
        ("StudyInstanceUID", ("1.2.77.1", "1.2.77.2"), "2 examinations in one series"),
        ("FrameOfReferenceUID", ("1.2.77.1", "1.2.77.2"), "2 frames of reference in one series"),
    ],
)
def test_mixed_identities_are_refused(tmp_path, refused, order, keyword, values, message):
    paths = write_series(tmp_path / "in", PLAN)
    second = (lambda k: k % 2) if order == "interleaved" else (lambda k: k // 4)
    edit(paths, setting(keyword, lambda k: values[second(k)]))
    error = refused(tmp_path / "in")
    assert message in error
    assert "export each patient and examination again" in error
    assert "SECRET" not in error
    assert "1.2.77" not in error
    assert message in refused(paths[0])
    assert message in refused(tmp_path / "in", "--series", "1")


def test_a_mixed_identity_stops_the_case_of_a_study(tmp_path, study, ctbone):
    paths = write_series(tmp_path / "in", PLAN)
    edit(paths, setting("PatientID", lambda k: f"SECRET{k % 2}"))
    (study.root / "cohort.csv").write_text(
        f"case_id,patient_id,label,image,mask\nC1,P1,benign,{tmp_path / 'in'},m.nii\n"
    )
    done = ctbone("preprocess", "--study", study.root, "--workers", "1")
    assert done.code == 1
    assert "C1" in done.err
    assert "2 patients in one series" in done.err
    assert "SECRET" not in done.out + done.err


# Two scans of 4 slices that interleave along the normal.
INTERLEAVED = {
    "AcquisitionNumber": (lambda k: 1 + k % 2, ("acquisition 1 of 2", "acquisition 2 of 2")),
    "AcquisitionTime": (
        lambda k: f"1200{10 + 20 * (k % 2):02d}.{k:06d}",
        ("acquisition 1 of 2", "acquisition 2 of 2"),
    ),
    "KVP": (lambda k: (80, 140)[k % 2], ("80 kV", "140 kV")),
    "ContrastBolusAgent": (lambda k: (None, "IOMERON")[k % 2], ("no contrast", "contrast")),
    "TemporalPositionIdentifier": (
        lambda k: 1 + k % 2,
        ("no contrast, temporal position 1", "no contrast, temporal position 2"),
    ),
}


@pytest.mark.parametrize("keyword", INTERLEAVED)
def test_interleaved_scans_are_separated_and_one_must_be_named(
    tmp_path, refused, converted, ctbone, keyword
):
    value_of, parts = INTERLEAVED[keyword]
    paths = write_series(tmp_path / "in", PLAN)
    edit(paths, setting(keyword, value_of))
    error = refused(tmp_path / "in")
    assert "one series holds several scans" in error
    assert "choose one with --series 1 or 2" in error
    listed = ctbone("convert", "--list", tmp_path / "in").out
    for number, part in enumerate(parts):
        assert part in listed
        voxels, record = converted(tmp_path / "in", "--series", number + 1)
        np.testing.assert_array_equal(voxels, PLAN.stored[number::2].astype(int) - 1024)
        assert record["geometry"]["spacing_mm"][2] == pytest.approx(4.0)
        assert record["series"][number]["part"] == part
        by_file, _ = converted(paths[number])
        np.testing.assert_array_equal(by_file, voxels)


@pytest.mark.parametrize("keyword", ["KVP", "ContrastBolusAgent"])
def test_half_a_scan_is_not_taken_by_itself(tmp_path, refused, keyword):
    paths = write_series(tmp_path / "in", PLAN)
    edit(paths, setting(keyword, lambda k: ("80", "140")[k // 6]))
    if keyword == "ContrastBolusAgent":
        edit(paths, setting(keyword, lambda k: (None, "IOMERON")[k // 6]))
    assert "one series holds several scans" in refused(tmp_path / "in")


@pytest.mark.parametrize(
    ("keyword", "value_of"),
    [
        # step-and-shoot: each rotation, of one slice or of two, has its number and time
        ("AcquisitionNumber", lambda k: k),
        ("AcquisitionNumber", lambda k: 9 - k // 2),
        ("AcquisitionTime", lambda k: f"12{k // 2:02d}00"),
        ("AcquisitionDateTime", lambda k: f"20200101235{8 + k // 4}00"),
        # a spiral scan: a time for each slice
        ("AcquisitionTime", lambda k: f"120000.{k}00000"),
        # two blocks, the second scanned in the other direction
        ("AcquisitionTime", lambda k: f"12{k if k < 4 else 40 - 3 * k:02d}00"),
        ("KVP", lambda k: None if k == 3 else 120),
    ],
)
def test_rotations_of_one_scan_stay_together(tmp_path, converted, keyword, value_of):
    edit(write_series(tmp_path / "in", PLAN), setting(keyword, value_of))
    voxels, record = converted(tmp_path / "in")
    np.testing.assert_array_equal(voxels, PLAN.stored.astype(int) - 1024)
    assert "part" not in record["series"][0]


@pytest.mark.parametrize("keyword", ["AcquisitionNumber", "AcquisitionTime"])
def test_rotations_of_two_scans_that_alternate_are_refused(tmp_path, refused, keyword):
    paths = write_series(tmp_path / "in", replace(PLAN, stored=ramp(12, 6, 5)))
    late = {"AcquisitionNumber": 100, "AcquisitionTime": 120500}[keyword]
    early = {"AcquisitionNumber": 1, "AcquisitionTime": 120000}[keyword]
    edit(paths, setting(keyword, lambda k: str((early, late)[k % 2] + 5 * (k // 2))))
    error = refused(tmp_path / "in")
    assert "slices of several acquisitions alternate" in error
    assert "export each acquisition again" in error


def test_two_scans_of_the_same_positions_are_separated(tmp_path, refused, converted):
    first = write_series(tmp_path / "in", PLAN, prefix="a")
    second = write_series(tmp_path / "in", replace(PLAN, stored=PLAN.stored + 7), prefix="b")
    uid = pydicom.dcmread(first[0]).SeriesInstanceUID
    edit(second, setting("SeriesInstanceUID", lambda k: uid))
    edit(second, setting("AcquisitionNumber", lambda k: 2))
    assert "one series holds several scans" in refused(tmp_path / "in")
    np.testing.assert_array_equal(
        converted(tmp_path / "in", "--series", 2)[0], PLAN.stored.astype(int) + 7 - 1024
    )


def test_frames_of_an_enhanced_file_are_separated_by_phase(tmp_path, refused, converted):
    path = write_enhanced(tmp_path / "in" / "one", PLAN, list(range(8)))
    dataset = pydicom.dcmread(path)
    for k, own in enumerate(dataset.PerFrameFunctionalGroupsSequence):
        usage = pydicom.Dataset()
        usage.ContrastBolusAgentPhase = ("ARTERIAL", "PORTAL_VENOUS")[k % 2]
        own.ContrastBolusUsageSequence = [usage]
    dataset.save_as(path)
    error = refused(tmp_path / "in")
    assert "arterial" in error
    assert "portal venous" in error
    voxels, _ = converted(tmp_path / "in", "--series", 2)
    np.testing.assert_array_equal(voxels, PLAN.stored[1::2].astype(int) - 1024)
    assert "one series holds several scans" in refused(path)
