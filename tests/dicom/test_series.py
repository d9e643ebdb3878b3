from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, convert_series, list_series

from .writer import Plan, ramp, write_enhanced, write_series

THIN = Plan(ramp(8), gap=1.0, thickness="1.0", kernel="BONEPLUS")
THICK = Plan(ramp(4), gap=5.0, thickness="5.0")


def verdicts(folder, **options):
    return [
        (series.verdict, series.reason) for series in list_series(folder, DicomSettings(**options))
    ]


def the_taken(folder, **options):
    return [
        series
        for series in list_series(folder, DicomSettings(**options))
        if series.verdict == "taken"
    ]


def test_one_series_is_found_among_everything_else(tmp_path):
    write_series(tmp_path / "a" / "deep", THIN)
    write_series(
        tmp_path / "scout", replace(THICK, image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"))
    )
    write_series(tmp_path / "shots", replace(THICK, sop_class=SecondaryCaptureImageStorage))
    write_series(
        tmp_path / "mpr", replace(THIN, image_type=("DERIVED", "SECONDARY", "REFORMATTED"))
    )
    write_series(tmp_path / "mr", replace(THIN, modality="MR"))
    write_series(
        tmp_path / "sagittal", replace(THIN, directions=((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)))
    )
    (tmp_path / "readme.txt").write_text("no image")
    (tmp_path / "notes.dcm").write_text("no image either")
    found = {
        series.files[0].parent.name: series for series in list_series(tmp_path, DicomSettings())
    }
    assert {
        name: series.verdict for name, series in found.items() if series.verdict != "skipped"
    } == {"deep": "taken"}
    assert found["deep"].slices == 8
    assert found["deep"].spacing == pytest.approx((0.7, 0.8, 1.0))
    assert found["scout"].reason == "localizer"
    assert "secondary capture" in found["shots"].reason
    assert "reformatted" in found["mpr"].reason
    assert "MR" in found["mr"].reason
    assert "sagittal" in found["sagittal"].reason
    assert found[tmp_path.name].reason == "not a DICOM file"
    assert len(found[tmp_path.name].files) == 2


@pytest.mark.parametrize(
    ("better", "worse", "options", "why"),
    [
        (THIN, THICK, {}, "thinner"),
        (
            replace(THIN, kernel="B30f"),
            replace(THIN, kernel="B70f"),
            {"kernel": "soft"},
            "preferred kernel",
        ),
        (
            replace(THICK, kernel="B70f"),
            replace(THIN, kernel="B30f"),
            {"kernel": "bone"},
            "preferred kernel",
        ),
        (replace(THIN, stored=ramp(9)), THIN, {}, "more slices"),
        (THIN, replace(THIN, contrast="IOMERON"), {}, "no contrast agent"),
        (THICK, replace(THIN, image_type=("DERIVED", "PRIMARY", "AXIAL")), {}, "original images"),
        (
            THICK,
            replace(THIN, positions=(0, 1, 2, 3, 4, 5, 6.3, 7.6)),
            {"irregular": "resample"},
            "regular slices",
        ),
    ],
)
def test_the_better_series_is_taken_and_the_other_has_a_reason(
    tmp_path, better, worse, options, why
):
    for number, plan in enumerate((worse, better)):
        write_series(tmp_path / str(number), plan)
    first, second = list_series(tmp_path, DicomSettings(**options))
    assert (first.verdict, first.reason) == ("skipped", f"series 2 is better: {why}")
    assert second.verdict == "taken"


def test_series_of_equal_rank_are_refused(tmp_path):
    one = write_series(tmp_path / "one", replace(THIN, kernel="B70f"))
    write_series(tmp_path / "two", replace(THIN, kernel="B30f"))
    with pytest.raises(DicomError) as caught:
        convert_series(tmp_path, tmp_path / "out.nii", DicomSettings())
    assert "series 1 (CT, kernel B70f, 8 slices): ranks equally with series 2" in str(caught.value)
    assert "series 2 (CT, kernel B30f, 8 slices): ranks equally with series 1" in str(caught.value)
    assert not (tmp_path / "out.nii").exists()
    assert [series.kernel for series in the_taken(tmp_path, kernel="soft")] == ["B30f"]
    assert [series.kernel for series in the_taken(one[2])] == ["B70f"]


def test_two_examinations_in_a_folder_are_refused(tmp_path):
    write_series(tmp_path / "1", THIN)
    write_series(tmp_path / "2", replace(THICK, study="1.2.9"))
    assert [verdict for verdict, _ in verdicts(tmp_path)] == ["refused", "refused"]
    write_series(tmp_path / "only" / "3", replace(THICK, patient="OTHER"))
    assert the_taken(tmp_path / "only")


@pytest.mark.parametrize(
    ("positions", "reason"),
    [
        ((0, 1, 1, 2, 3), "duplicate slices at 101.00 mm along the normal"),
        ((0, 1, 2, 4, 5), "missing slices at 103.00 mm along the normal"),
        (
            (0, 2.5, 7.5, 10, 20),
            "missing slices at 105.00, 112.50, 115.00, 117.50 mm along the normal",
        ),
        ((0, 0, 0, 0, 0), "all 5 slices are at one position, 100.00 mm along the normal"),
        ((0, 1, 2, 3.3, 4.6), "uneven gaps, 1.00 to 1.30 mm"),
    ],
)
def test_slices_that_are_not_a_volume_are_refused_with_their_positions(tmp_path, positions, reason):
    write_series(tmp_path, Plan(ramp(5), positions=positions))
    assert verdicts(tmp_path) == [("refused", reason)]


def test_rounded_positions_are_regular(tmp_path):
    # 1.25 mm written with one decimal: gaps of 1.2 and 1.3 mm.
    positions = tuple(round(1.25 * k + 1e-6, 1) for k in range(9))
    write_series(tmp_path, Plan(ramp(9), positions=positions))
    assert the_taken(tmp_path)[0].spacing == pytest.approx((0.7, 0.8, 1.25))


def test_mixed_slices_are_refused(tmp_path):
    paths = write_series(tmp_path / "a", THIN)
    larger = pydicom.dcmread(
        write_series(tmp_path / "b", replace(THIN, stored=ramp(8, rows=16)))[3]
    )
    first = pydicom.dcmread(paths[0])
    larger.SeriesInstanceUID = first.SeriesInstanceUID
    larger.save_as(paths[3])
    assert verdicts(tmp_path / "a") == [("refused", "mixed sizes: 10 × 12, 10 × 16")]
    first.ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    first.save_as(paths[3])
    assert verdicts(tmp_path / "a") == [
        ("refused", "mixed orientations: 1 of 8 slices differ from the first")
    ]


def test_two_slices_are_not_a_volume(tmp_path):
    write_series(tmp_path, Plan(ramp(2)))
    assert verdicts(tmp_path) == [("refused", "too few slices: 2, a volume needs at least 3")]


def test_a_gantry_tilt_is_read_from_the_positions(tmp_path):
    angle = np.radians(12.0)
    directions = ((1.0, 0.0, 0.0), (0.0, np.cos(angle), np.sin(angle)))
    write_series(tmp_path, Plan(ramp(), directions=directions, gap=0.0, shift=(0.0, 0.0, 2.0)))
    (series,) = list_series(tmp_path, DicomSettings())
    assert (series.verdict, series.reason) == ("refused", "gantry tilt of 12.0°")
    assert series.tilt == pytest.approx(12.0, abs=0.01)


def test_a_missing_rescale_is_refused(tmp_path):
    for path in write_series(tmp_path, THIN):
        dataset = pydicom.dcmread(path)
        del dataset.RescaleSlope
        dataset.save_as(path)
    assert verdicts(tmp_path) == [
        ("refused", "no rescale slope and intercept: the values are not HU")
    ]


def test_a_header_that_claims_too_many_pixels_is_skipped(tmp_path):
    for path in write_series(tmp_path, THIN):
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 65535
        dataset.save_as(path)
    assert verdicts(tmp_path) == [("skipped", "the header claims 65535 × 65535 pixels")]


def test_an_enhanced_file_is_one_series(tmp_path):
    write_enhanced(tmp_path / "IM1", THIN, [3, 1, 2, 0, 7, 6, 5, 4])
    (series,) = the_taken(tmp_path)
    assert (series.slices, series.kernel, len(series.files)) == (8, "BONEPLUS", 1)


def test_files_without_preamble_and_loops_of_links_are_read(tmp_path):
    for path in write_series(tmp_path / "a", THIN):
        path.write_bytes(path.read_bytes()[132:])
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    os.mkfifo(tmp_path / "pipe")
    assert the_taken(tmp_path)[0].slices == 8


def test_an_empty_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(DicomError, match="holds no files"):
        list_series(tmp_path, DicomSettings())
    with pytest.raises(DicomError, match="does not exist"):
        list_series(tmp_path / "gone", DicomSettings())


def test_damaged_files_are_listed_and_do_not_stop_the_others(tmp_path):
    paths = write_series(tmp_path / "a", THIN)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "cut").write_bytes(paths[0].read_bytes()[:140])
    (tmp_path / "b" / "noise").write_bytes(b"\0" * 128 + b"DICM" + os.urandom(500))
    assert len(the_taken(tmp_path)) == 1
