"""A mask that was drawn on other images than those that it is used on; highdicom writes the SEGs.

The NIfTI in the same study is not in HU: ``preprocess`` says both, each once.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace

import highdicom
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes

from ctbone.grid import Grid
from ctbone.preprocessing.mask_references import OTHER_SCAN, OTHER_SERIES
from ctbone.preprocessing.sheet import warnings_of
from ctbone.study import Study, record_of
from tests.dicom.writer import Plan, write_series
from tests.masks.dicom_masks import write_rtstruct
from tests.test_cli import ctbone

SHAPE = (12, 40, 44)  # slices, rows, columns
PLAN = Plan(np.zeros(SHAPE, np.uint16), pixel=(1.0, 1.0), gap=2.0)
GRID = Grid(SHAPE[::-1], PLAN.affine)
PRIVATE = "XPLANTEDX"


def body(seed: int) -> np.ndarray:
    """Stored values of muscle with a lesion of 300 HU, in air."""
    _, y, x = np.indices(SHAPE)
    away = np.hypot(y - 20, x - 22)
    hu = np.where(drawn(), 300, np.where(away < 16, 40, -1000))
    return (hu + np.random.default_rng(seed).integers(-60, 60, SHAPE) + 1024).astype(np.uint16)


def drawn() -> np.ndarray:
    """The lesion, (slice, row, column)."""
    z, y, x = np.indices(SHAPE)
    return (abs(z - 6) < 3) & (np.hypot(y - 20, x - 22) < 6)


def write_scan(folder, seed, *, study, frame):
    """Write a series and return its datasets, from head to foot as written."""
    found = []
    for path in write_series(folder, replace(PLAN, stored=body(seed), study=study)):
        dataset = pydicom.dcmread(path)
        dataset.FrameOfReferenceUID = frame
        dataset.PatientName = dataset.PatientID = PRIVATE
        dataset.PatientBirthDate = dataset.PatientSex = dataset.AccessionNumber = ""
        dataset.StudyID = dataset.ReferringPhysicianName = ""
        dataset.save_as(path)
        found.append(dataset)
    return found


def write_seg(path, images, slices=slice(None)):
    """Write the lesion as a segmentation of some slices of a series, by highdicom."""
    code = codes.SCT.Neoplasm
    lesion = highdicom.seg.SegmentDescription(
        segment_number=1,
        segment_label="lesion",
        segmented_property_category=codes.SCT.MorphologicallyAbnormalStructure,
        segmented_property_type=code,
        algorithm_type="MANUAL",
    )
    highdicom.seg.Segmentation(
        source_images=images[slices],
        pixel_array=drawn()[slices],
        segmentation_type="BINARY",
        segment_descriptions=[lesion],
        series_instance_uid=highdicom.UID(),
        series_number=9,
        sop_instance_uid=highdicom.UID(),
        instance_number=1,
        manufacturer="m",
        manufacturer_model_name="m",
        software_versions="1",
        device_serial_number="1",
    ).save_as(path)


def write_contours(path, images):
    """Write the lesion as contours that name the images' study, series and frame of reference."""
    corners = np.array([[17.0, 15.0], [27.0, 15.0], [27.0, 25.0], [17.0, 25.0]])
    rings = [GRID.to_world(np.column_stack([corners, np.full(4, float(k))])) for k in range(4, 9)]
    dataset = pydicom.dcmread(write_rtstruct(path, {1: ("lesion", rings)}))
    frame, study, series = (pydicom.Dataset() for _ in range(3))
    frame.FrameOfReferenceUID = images[0].FrameOfReferenceUID
    study.ReferencedSOPInstanceUID = images[0].StudyInstanceUID
    series.SeriesInstanceUID = images[0].SeriesInstanceUID
    series.ContourImageSequence = [pydicom.Dataset() for _ in images]
    for item, image in zip(series.ContourImageSequence, images, strict=True):
        item.ReferencedSOPInstanceUID = image.SOPInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.RTReferencedStudySequence = [study]
    dataset.ReferencedFrameOfReferenceSequence = [frame]
    dataset.save_as(path)


EXPECTED = {
    "own": None,
    "part": None,
    "contours": None,
    "twin": OTHER_SERIES,
    "foreign": OTHER_SCAN,
    "foreigncontours": OTHER_SCAN,
    "shifted": "1024 was added; export it again in HU",
}
"""The remark on each case; ``moved`` is refused."""


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Study:
    root = tmp_path_factory.mktemp("study")
    (root / "study.yaml").write_text(
        "name: test\nfolds: {count: 2}\n"
        "preprocess: {crop_3d: {size: 24, spacing: 2}, images_2d: {size: 32}}\n"
    )
    names = [*EXPECTED, "moved"]
    scans = {
        name: write_scan(root / "exam" / name, k, study=f"1.2.77.{k}", frame=f"1.2.78.{k}")
        for k, name in enumerate(names)
        if name != "shifted"
    }
    at = names.index
    twin = write_scan(
        root / "other" / "twin", 90, study=f"1.2.77.{at('twin')}", frame=f"1.2.78.{at('twin')}"
    )
    moved = write_scan(
        root / "other" / "moved", 91, study=f"1.2.77.{at('moved')}", frame="1.2.78.91"
    )
    write_seg(root / "own.dcm", scans["own"])
    write_seg(root / "part.dcm", scans["part"], slice(4, 8))
    write_seg(root / "twin.dcm", twin)
    write_seg(root / "moved.dcm", moved)
    write_seg(root / "foreign.dcm", scans["own"])
    write_contours(root / "contours.dcm", scans["contours"])
    write_contours(root / "foreigncontours.dcm", scans["own"])
    hu = body(92).astype(np.int16)  # not yet less 1024
    nib.Nifti1Image(hu.transpose(2, 1, 0), PLAN.affine).to_filename(root / "shifted.nii")
    lesion = drawn().transpose(2, 1, 0).astype(np.uint8)
    nib.Nifti1Image(lesion, PLAN.affine).to_filename(root / "shifted-mask.nii")
    rows = ["case_id,label,image,mask"]
    for k, name in enumerate(names):
        image = "shifted.nii" if name == "shifted" else f"exam/{name}"
        mask = "shifted-mask.nii" if name == "shifted" else f"{name}.dcm"
        rows.append(f"{name},{('benign', 'malignant')[k % 2]},{image},{mask}")
    (root / "cohort.csv").write_text("\n".join(rows) + "\n")
    return Study.open(root)


@pytest.fixture(scope="module")
def prepared(study):
    """The result of ``preprocess``, which is run once: it imports MONAI."""
    return ctbone("preprocess", "--study", study.root, "--workers", 1)


@pytest.mark.parametrize("command", ["check", "preprocess"])
def test_each_mask_of_another_scan_is_named_once(study, command, request):
    if command == "check":
        done = ctbone("check", "--study", study.root, "--workers", 1)
    else:
        done = request.getfixturevalue("prepared")
    assert done.returncode == {"check": 2, "preprocess": 1}[command], done.stdout + done.stderr
    for name, remark in EXPECTED.items():
        told = [line for line in done.stdout.splitlines() if re.search(rf"\b{name}[:,]", line)]
        relevant = [line for line in told if remark is not None and remark in line]
        assert len(relevant) == (remark is not None), (name, done.stdout)
    for remark, count in ((OTHER_SERIES, 1), (OTHER_SCAN, {"check": 2, "preprocess": 1}[command])):
        assert done.stdout.count(remark) == count, done.stdout
    assert "another frame of reference than the image's" in done.stderr
    assert "moved" in done.stderr
    for private in (PRIVATE, "1.2.77", "1.2.78"):
        assert private not in done.stdout + done.stderr


def test_records_say_it_and_hold_no_uid(study, prepared):
    for name, remark in EXPECTED.items():
        record = json.loads(record_of(study.crop(name, "3d")).read_text())
        volume = json.loads(record_of(study.nifti(name)).read_text())
        if name == "shifted":
            assert volume["note"].endswith(remark)
        else:
            assert record["case"]["reference_note"] == remark
            assert volume["note"] is None
            assert (remark in warnings_of(record, "physical")) == (remark is not None)
    sources = [study.root / "exam", study.root / "other"]
    made = [
        path
        for path in study.root.rglob("*")
        if path.is_file() and path.suffix != ".dcm" and not {*path.parents} & {*sources}
    ]
    assert len(made) > 40
    for path in made:
        content = path.read_bytes()
        assert b"1.2.77." not in content
        assert b"1.2.78." not in content
        assert PRIVATE.encode() not in content
