"""``ctbone convert`` offers what its messages advise."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import SecondaryCaptureImageStorage

from .writer import Plan, ramp, write_series

PLAN = Plan(ramp(8, 6, 5), gap=1.0, thickness="1.0")
UNEVEN = replace(PLAN, positions=(0, 1, 2, 3, 4, 5, 6.3, 7.6))
REFORMATTED = replace(PLAN, image_type=("DERIVED", "SECONDARY", "REFORMATTED"))


def advice(error):
    """The message without its file: what is wrong, and the remedy."""
    lines = [line for line in error.splitlines() if not line.startswith("  file:")]
    return lines[0], lines[-1]


def test_the_advice_on_an_irregular_series_works(tmp_path, refused, converted):
    write_series(tmp_path / "in", UNEVEN)
    error = refused(tmp_path / "in")
    what, remedy = advice(error)
    assert what == ("error: series 1 (CT, kernel STANDARD, 8 slices): uneven gaps, 1.00 to 1.30 mm")
    assert "--irregular resample" in remedy
    assert len(error.splitlines()) == 3
    _, record = converted(tmp_path / "in", "--irregular", "resample")
    assert record["resampled"] == "uneven gaps, 1.00 to 1.30 mm"
    assert record["settings"]["irregular"] == "resample"


def test_the_advice_on_equal_series_works(tmp_path, refused, converted):
    write_series(tmp_path / "in" / "1", replace(PLAN, kernel="B70f"))
    soft = replace(PLAN, stored=PLAN.stored + 9, kernel="B30f")
    write_series(tmp_path / "in" / "2", soft)
    what, remedy = advice(refused(tmp_path / "in"))
    assert what == "error: several CT series are equally suitable"
    assert "choose one with --series 1 or 2, or --kernel bone or soft" in remedy
    expected = soft.stored.astype(int) - 1024
    for options in (("--series", "2"), ("--kernel", "soft")):
        np.testing.assert_array_equal(converted(tmp_path / "in", *options)[0], expected)


def test_the_advice_on_two_examinations_works(tmp_path, refused, converted):
    write_series(tmp_path / "in" / "1", PLAN)
    write_series(tmp_path / "in" / "2", replace(PLAN, study="1.2.9", kernel="B70f"))
    what, remedy = advice(refused(tmp_path / "in"))
    assert what == "error: the folder holds several examinations"
    assert "choose one with --series 1 or 2" in remedy
    assert converted(tmp_path / "in", "--series", "2")[1]["scan"]["kernel"] == "B70f"


@pytest.mark.parametrize("by", ["number", "file"])
def test_a_reformatted_series_is_taken_by_naming_it(tmp_path, refused, converted, by):
    paths = write_series(tmp_path / "in", REFORMATTED)
    what, remedy = advice(refused(tmp_path / "in"))
    assert what.endswith("reformatted from another series")
    assert "--series 1" in remedy
    named = (tmp_path / "in", "--series", "1") if by == "number" else (paths[2],)
    voxels, record = converted(*named)
    np.testing.assert_array_equal(voxels, PLAN.stored.astype(int) - 1024)
    assert record["note"] == "reformatted from another series; taken because it is named"


def test_what_is_no_volume_is_not_taken_by_naming_it(tmp_path, refused):
    write_series(tmp_path / "1", replace(PLAN, image_type=("DERIVED", "SECONDARY", "MIP")))
    assert "projected from another series" in refused(tmp_path / "1", "--series", "1")
    write_series(tmp_path / "2", replace(PLAN, sop_class=SecondaryCaptureImageStorage))
    assert "secondary capture" in refused(tmp_path / "2", "--series", "1")
    write_series(tmp_path / "3", replace(REFORMATTED, stored=ramp(2)))
    assert "too few slices" in refused(tmp_path / "3", "--series", "1")
    error = refused(tmp_path / "3", "--series", "4")
    assert "there is no series 4" in error
    assert "ctbone convert --list" in error


def test_a_reformatted_series_is_a_case_of_a_study(tmp_path, study, ctbone):
    paths = write_series(tmp_path / "in", REFORMATTED)
    head = "case_id,patient_id,label,image,mask\n"
    (study.root / "cohort.csv").write_text(f"{head}C1,P1,benign,{tmp_path / 'in'},m.nii\n")
    error = ctbone("preprocess", "--study", study.root, "--workers", "1").err
    assert "reformatted from another series" in error
    assert "give one DICOM file of it instead of the folder" in error
    assert "--series" not in error
    (study.root / "cohort.csv").write_text(f"{head}C1,P1,benign,{paths[0]},m.nii\n")
    assert (
        "reformatted from" not in ctbone("preprocess", "--study", study.root, "--workers", "1").err
    )
    record = json.loads((study.root / "nifti" / "C1.json").read_text())
    assert record["note"] == "reformatted from another series; taken because it is named"


def test_the_settings_of_a_study_apply_and_options_override_them(
    tmp_path, study, refused, converted
):
    write_series(tmp_path / "in", UNEVEN)
    study.settings_file.write_text("name: test\ndicom: {irregular: resample}\n")
    assert converted(tmp_path / "in", "--study", study.root)[1]["resampled"]
    refused(tmp_path / "in", "--study", study.root, "--irregular", "refuse")
    assert "study.yaml is missing" in refused(tmp_path / "in", "--study", tmp_path)


def test_json_beside_the_list_and_the_file(tmp_path, ctbone):
    write_series(tmp_path / "in" / "1", PLAN)
    write_series(tmp_path / "in" / "2", REFORMATTED)
    (tmp_path / "in" / "readme.txt").write_text("text")
    done = ctbone("convert", "--list", "--json", tmp_path / "in")
    first, second, third = json.loads(done.out)["series"]
    assert (first["number"], first["verdict"], first["files"]) == (1, "taken", 8)
    assert first["spacing_mm"] == pytest.approx([0.7, 0.8, 1.0])
    assert (second["verdict"], second["reason"]) == (
        "skipped",
        "reformatted from another series",
    )
    assert third["reason"] == "not a DICOM file"
    done = ctbone("convert", "--json", tmp_path / "in", tmp_path / "out.nii.gz")
    record = json.loads(done.out)
    assert record["path"] == str(tmp_path / "out.nii.gz")
    assert record["geometry"]["shape"] == [5, 6, 8]


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 140, 160, 200])
def test_the_list_fits_every_terminal(tmp_path, monkeypatch, capsys, width):
    import sys

    from ctbone.cli import _print_series
    from ctbone.config import DicomSettings
    from ctbone.dicom import list_series

    write_series(tmp_path / "1", replace(PLAN, positions=(0, 1, 1, 2, 9, 10, 20, 30)))
    write_series(tmp_path / "2", replace(REFORMATTED, kernel="BONEPLUS"))
    write_series(tmp_path / "3", replace(PLAN, study="1.2.9", contrast="IOMERON"))
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _print_series(list_series(tmp_path, DicomSettings()))
    shown = capsys.readouterr().out
    assert max(len(line) for line in shown.splitlines()) <= width
    words = " ".join(shown.replace("│", " ").split())
    for one in ("taken", "skipped", "refused", "BONEPLUS", "0.7 × 0.8 × 1"):
        assert one in words  # no word is split, no cell is cut
