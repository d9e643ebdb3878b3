"""Folders with other content than a series: one clear message each, and no crash."""

from __future__ import annotations

import os
import resource
import tracemalloc
import zipfile
from pathlib import Path

import pydicom
import pydicom.uid as uids
import pytest

from ctbone.config import DicomSettings
from ctbone.dicom import DicomError, convert_series, list_series

from .writer import Plan, ramp, write_series

SETTINGS = DicomSettings()


def refusal(folder, tmp_path):
    with pytest.raises(DicomError) as caught:
        convert_series(folder, tmp_path / "out.nii", SETTINGS)
    assert not (tmp_path / "out.nii").exists()
    return str(caught.value)


def test_an_empty_and_a_missing_folder_are_refused(tmp_path):
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    assert "holds no files" in refusal(tmp_path / "empty", tmp_path)
    assert "the folder does not exist" in refusal(tmp_path / "gone", tmp_path)


def test_text_and_archives_are_not_dicom(tmp_path):
    folder = tmp_path / "in"
    paths = write_series(folder, Plan(ramp()))
    with zipfile.ZipFile(folder / "exam.zip", "w") as archive:
        archive.write(paths[0])
    (folder / "report.dcm").write_text("a text")
    (folder / "nothing").touch()
    series, others = list_series(folder, SETTINGS)
    assert (series.verdict, others.verdict, others.reason, len(others.files)) == (
        "taken",
        "skipped",
        "not a DICOM file",
        3,
    )
    message = refusal(folder / "exam.zip", tmp_path)
    assert "the file is not an image of a series: not a DICOM file" in message
    assert "unpack archives first" in message
    assert "not an image of a series" in refusal(folder / "report.dcm", tmp_path)
    for path in paths:
        path.unlink()
    assert "3 files: not a DICOM file" in refusal(folder, tmp_path)


@pytest.mark.parametrize(
    ("kept", "missing"),
    [
        (140, "missing slices at 105.00 mm"),
        (400, "missing slices at 105.00 mm"),
        (-300, "1 of 5 slices have no rescale slope and intercept"),
        (-200, "less pixel data than the header claims"),
        (-2, "less pixel data than the header claims"),
    ],
)
def test_a_truncated_file_is_refused_with_what_is_missing(tmp_path, kept, missing):
    paths = write_series(tmp_path / "in", Plan(ramp()))
    paths[2].write_bytes(paths[2].read_bytes()[:kept])
    assert missing in refusal(tmp_path / "in", tmp_path)


def test_one_series_in_a_folder_of_a_hundred_thousand_files(tmp_path):
    # Links to one file need no space; CTBONE_MANY_FILES=100000 runs the full number.
    count = int(os.environ.get("CTBONE_MANY_FILES", "5000"))
    folder = tmp_path / "in"
    write_series(folder, Plan(ramp()))
    for k in range(count):
        if k % 1000 == 0:
            (folder / f"{k:06d}").mkdir()
            (tmp_path / f"junk{k}").write_bytes(b"\0" * 200)
        os.link(tmp_path / f"junk{k - k % 1000}", folder / f"{k - k % 1000:06d}" / f"{k:06d}.dcm")
    tracemalloc.start()
    series, others = list_series(folder, SETTINGS)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (series.verdict, series.slices, len(others.files)) == ("taken", 5, count)
    assert peak < 3_000_000 + 3000 * count


@pytest.mark.parametrize(
    "syntax", [uids.ExplicitVRLittleEndian, uids.ImplicitVRLittleEndian, uids.ExplicitVRBigEndian]
)
def test_missing_pixels_take_no_memory(tmp_path, syntax):
    for path in write_series(tmp_path / "in", Plan(ramp(4), syntax=syntax)):
        dataset = pydicom.dcmread(path)
        dataset.Rows = dataset.Columns = 12_000
        dataset.save_as(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert "less pixel data than the header claims" in refusal(tmp_path / "in", tmp_path)
    assert (
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300_000
    )  # KiB; one slice would be 281,250


def test_a_file_without_read_permission_is_counted(tmp_path, monkeypatch):
    paths = write_series(tmp_path / "in", Plan(ramp()))
    opened = Path.open

    def refuse(self, *arguments, **options):
        if self == paths[4]:
            raise PermissionError(13, "Permission denied")
        return opened(self, *arguments, **options)

    monkeypatch.setattr(Path, "open", refuse)
    series, others = list_series(tmp_path / "in", SETTINGS)
    assert (series.slices, others.reason, len(others.files)) == (4, "cannot be read", 1)
    monkeypatch.undo()
    (series,) = list_series(tmp_path / "in", SETTINGS)
    monkeypatch.setattr(Path, "open", refuse)
    from ctbone.dicom import read_series

    with pytest.raises(DicomError) as caught:
        read_series(series)
    assert "a file cannot be read" in str(caught.value)
    assert paths[4].name not in str(caught.value)


def test_pipes_and_broken_links_are_skipped(tmp_path):
    write_series(tmp_path / "in", Plan(ramp()))
    os.mkfifo(tmp_path / "in" / "pipe")
    (tmp_path / "in" / "broken").symlink_to(tmp_path / "gone")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in", target_is_directory=True)
    (tmp_path / "in" / "self").symlink_to(tmp_path / "in" / "self")
    (series,) = list_series(tmp_path / "in", SETTINGS)
    assert series.verdict == "taken"
