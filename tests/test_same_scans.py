"""One scan under two patients, or on both sides of internal and external, at the command line."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock

import nibabel as nib
import numpy as np
import pydicom
import pytest
from scipy import ndimage

from ctbone.cli import main
from tests.conftest import write_rows
from tests.dicom.writer import Plan, write_series

SETTINGS = """
name: small
preprocess: {crop_3d: {size: 16, spacing: 2.0, margin: 2}, images_2d: {size: 16, margin: 2}}
folds: {count: 2, validation_share: 0.3}
training: {epochs: 1, batch_size: 4}
models:
  3d:
    dim: 3d
    network: densenet
    network_options: {block_config: [1], growth_rate: 4, init_features: 4}
fusion: {combinations: {}}
"""
AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])
INTERNAL, EXTERNAL = 12, 2


def ctbone(*arguments) -> CompletedProcess[str]:
    """Run a command line in this process, which imports torch and MONAI once for all tests."""
    out, err = io.StringIO(), io.StringIO()
    argv = ["ctbone", *map(str, arguments)]
    with (
        mock.patch.object(sys, "argv", argv),
        redirect_stdout(out),
        redirect_stderr(err),
        pytest.raises(SystemExit) as stopped,
    ):
        main()
    return CompletedProcess(argv, int(stopped.value.code or 0), out.getvalue(), err.getvalue())


def scan(seed: int, noise: float = 0) -> np.ndarray:
    """A body with its own smooth interior, in HU."""
    rng = np.random.default_rng(seed)
    shape = (40, 36, 44)
    field = ndimage.gaussian_filter(rng.normal(0, 1, shape), 4)
    x, y = np.meshgrid(np.linspace(-1, 1, 40), np.linspace(-1, 1, 36), indexing="ij")
    body = (x**2 + y**2 < 0.8)[:, :, None]
    hu = np.where(body, 40 + 400 * field / field.std(), -1000) + rng.normal(0, 10, shape)
    return np.rint(hu + np.random.default_rng(99).normal(0, noise, shape)).astype(np.int16)


def mask(low: int = 12) -> np.ndarray:
    drawn = np.zeros((40, 36, 44), np.uint8)
    drawn[low : low + 8, 14:22, 16:26] = 1
    return drawn


def rows() -> list[dict[str, str]]:
    return [
        {
            "case_id": f"S{number:02d}",
            "patient_id": f"P{number:02d}",
            "label": ("benign", "malignant")[number % 2],
            "cohort": "internal" if number < INTERNAL else "centre2",
            "image": f"images/S{number:02d}.nii.gz",
            "mask": f"masks/S{number:02d}.nii.gz",
        }
        for number in range(INTERNAL + EXTERNAL)
    ]


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(data, affine), path)


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """A study in which every patient has a scan of their own, preprocessed."""
    root = tmp_path_factory.mktemp("clean")
    (root / "study.yaml").write_text(SETTINGS)
    write_rows(root / "cohort.csv", rows())
    for number, row in enumerate(rows()):
        save(root / row["image"], scan(number))
        save(root / row["mask"], mask())
    done = ctbone("preprocess", "--study", root, "--workers", 1)
    assert done.returncode == 0, done.stderr
    assert "note" not in done.stdout
    return root


@pytest.fixture
def study(clean, tmp_path):
    return Path(shutil.copytree(clean, tmp_path / "study"))


def plant(study, case: str, hu: np.ndarray, affine: np.ndarray = AFFINE, low: int = 18) -> None:
    """Give a case another scan and a mask of its own."""
    save(study / "images" / f"{case}.nii.gz", hu, affine)
    drawn = nib.Nifti1Image(mask(low)[: hu.shape[0], : hu.shape[1], : hu.shape[2]], affine)
    if not np.allclose(affine, AFFINE):
        drawn = nib.Nifti1Image(mask(low), AFFINE)
    nib.save(drawn, study / "masks" / f"{case}.nii.gz")


def edit(study, case: str, **cells: str) -> None:
    changed = [row | cells if row["case_id"] == case else row for row in _table(study)]
    write_rows(study / "cohort.csv", changed)


def _table(study) -> list[dict[str, str]]:
    lines = [line.split(",") for line in (study / "cohort.csv").read_text().splitlines()]
    return [dict(zip(lines[0], cells, strict=True)) for cells in lines[1:]]


def preprocess(study):
    return ctbone("preprocess", "--study", study, "--workers", 1)


def refused(done, code: int, *words: str) -> None:
    assert done.returncode == code, (done.stdout, done.stderr)
    assert [word for word in words if word not in done.stderr] == []
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "preprocess", "run", "train"])
@pytest.mark.parametrize("case", ["S07", "S13"])
def test_one_scan_under_two_patients_with_another_mask(study, case, command):
    """S07 is internal, S13 external; S02 is the case with the same scan."""
    plant(study, case, scan(2))
    if command == "train":
        preprocess(study)
    done = ctbone(command, "--study", study, *([] if command == "train" else ["--workers", 1]))
    refused(
        done,
        1 if command == "preprocess" else 2,
        *(case, "S02", f"P{case[1:]}", "P02", "that of another patient", "remedy"),
    )
    assert not (study / "predictions").exists()


def test_predict_refuses_an_external_scan_that_was_trained_on(study):
    assert ctbone("train", "--study", study).returncode == 0
    assert ctbone("predict", "--study", study).returncode == 0
    plant(study, "S13", scan(2))
    assert preprocess(study).returncode == 1
    refused(ctbone("predict", "--study", study), 2, "S13", "S02", "that of another patient")


@pytest.mark.parametrize("missing", [0, 20, 43])
def test_the_scan_of_another_patient_without_a_slice(study, missing):
    plant(study, "S07", np.delete(scan(2), missing, axis=2))
    refused(preprocess(study), 1, "S07", "S02", "P07", "P02", "43 of 43 slices identical")


def test_the_scan_of_another_patient_stored_in_another_order(study):
    reversed_axis = AFFINE.copy()
    reversed_axis[0] = [-2, 0, 0, 2 * 39]
    plant(study, "S07", scan(2)[::-1], reversed_axis)
    refused(preprocess(study), 1, "S07", "S02", "all voxels identical")


def test_check_compares_preprocessed_volumes(study):
    plant(study, "S07", np.delete(scan(2), 20, axis=2))
    assert preprocess(study).returncode == 1
    refused(ctbone("check", "--study", study, "--workers", 1), 2, "S07", "S02", "slices identical")
    plant(study, "S07", scan(7))
    done = ctbone("check", "--study", study, "--workers", 1)
    assert done.returncode == 0, "the record of the earlier volume must not be used"


@pytest.mark.parametrize("missing", [None, 20])
def test_one_hounsfield_unit_of_noise_on_a_copy(study, missing):
    copy = scan(2, noise=1)
    plant(study, "S07", copy if missing is None else np.delete(copy, missing, axis=2))
    done = preprocess(study)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("note: ")]
    picture = Path(line.rsplit("see ", 1)[1])
    assert [word for word in ("S02", "P02", "S07", "P07", "nearly") if word not in line] == []
    assert picture.read_bytes()[:4] == b"\x89PNG"
    checked = ctbone("check", "--study", study, "--workers", 1)
    assert (checked.returncode, line in checked.stdout) == (0, True)


def test_one_scan_of_one_patient_internal_and_external(study):
    edit(study, "S13", patient_id="P02")
    plant(study, "S13", scan(2))
    done = preprocess(study)
    refused(done, 2, "patient P02 is both internal and external")


@pytest.mark.parametrize("other", [scan(2), scan(2, noise=1), scan(50)])
def test_several_lesions_and_several_scans_of_one_patient_are_in_order(study, other):
    edit(study, "S08", patient_id="P02")
    plant(study, "S08", other)
    for command in ("preprocess", "check"):
        done = ctbone(command, "--study", study, "--workers", 1)
        assert done.returncode == 0, done.stderr
        assert "note" not in done.stdout


def dicom_study(root, exams: list[str]) -> Path:
    """A study whose images are DICOM folders, one an exam."""
    (root / "study.yaml").write_text(SETTINGS)
    table = rows()[: len(exams)]
    for row, exam in zip(table, exams, strict=True):
        row["image"] = f"dicom/{exam}"
        drawn = np.pad(np.ones((4, 4, 3), np.uint8), ((3, 3), (4, 4), (6, 6)))
        save(root / row["mask"], drawn, plan(0).affine)
    write_rows(root / "cohort.csv", table)
    return root


def plan(seed: int) -> Plan:
    stored = np.random.default_rng(seed).integers(900, 1200, (15, 12, 10)).astype(np.uint16)
    return Plan(stored, study=f"1.2.{seed + 1}", patient=f"SECRET{seed}", pixel=(1.0, 1.0))


def series(root, name: str, seed: int) -> Path:
    write_series(root / "dicom" / name, plan(seed))
    return root / "dicom" / name


def test_check_finds_one_examination_under_two_patients_in_the_headers(tmp_path):
    first = series(tmp_path, "a", 1)
    shutil.copytree(first, tmp_path / "dicom" / "b")
    (sorted((tmp_path / "dicom" / "b").iterdir())[0]).unlink()  # the first slice is missing
    for seed, name in enumerate("cd", start=2):
        series(tmp_path, name, seed)
    study = dicom_study(tmp_path, ["a", "b", "c", "d"])
    done = ctbone("check", "--study", study, "--workers", 1)
    refused(done, 2, "S00", "S01", "P00", "P01", "14 of 14 DICOM images")
    assert "that of another patient" in done.stderr
    assert "1 problem in" in done.stderr


def test_no_uid_in_any_record_or_message(tmp_path):
    first = series(tmp_path, "a", 1)
    shutil.copytree(first, tmp_path / "dicom" / "b")
    headers = [pydicom.dcmread(path) for path in sorted(first.iterdir())]
    for path in (tmp_path / "dicom" / "b").iterdir():  # other pixels, so that only UIDs agree
        header = pydicom.dcmread(path)
        header.PixelData = bytes(np.flip(header.pixel_array).tobytes())
        header.save_as(path)
    study = dicom_study(tmp_path, ["a", "b"])
    done = preprocess(study)
    refused(done, 1, "S00", "S01", "15 of 15 DICOM images")
    uids = {str(h.SOPInstanceUID) for h in headers} | {str(headers[0].SeriesInstanceUID)}
    written = [path for path in study.rglob("*") if path.is_file() and "dicom" not in path.parts]
    text = [done.stdout, done.stderr, *(p.read_bytes().decode("latin-1") for p in written)]
    assert not [uid for uid in [*uids, "SECRET"] for one in text if uid in one]
    record = json.loads((study / "nifti" / "S00.json").read_text())["identity"]
    stored = base64.b64decode(record["instances"])
    unsalted = [hashlib.sha256(uid.encode()).digest()[:8] for uid in uids]
    assert len(stored) == 15 * 8
    assert not [key for key in unsalted if key in stored]


def test_another_salt_makes_the_records_anew(tmp_path):
    series(tmp_path, "a", 1)
    study = dicom_study(tmp_path, ["a"])
    preprocess(study)
    before = json.loads((study / "nifti" / "S00.json").read_text())["identity"]
    (study / ".scan-salt").write_text("another\n")
    preprocess(study)
    after = json.loads((study / "nifti" / "S00.json").read_text())["identity"]
    of_uids = ("instances", "series", "examination", "frame_of_reference")
    assert all(after[name] != before[name] for name in of_uids)
    assert {name for name in before if after[name] != before[name]} == set(of_uids)
