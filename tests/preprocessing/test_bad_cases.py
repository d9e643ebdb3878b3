"""A cohort with one case of every fault: each is named, and the other cases are made."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from ctbone import workflow
from ctbone.grid import Grid
from ctbone.nifti import open_nifti
from ctbone.preprocessing import preprocess_case
from ctbone.study import Study, record_of

from .scans import affine, ball, case_of

SHAPE = (32, 30, 28)
GRID = Grid(SHAPE, affine((0, 0, 180), (1.0, 1.0, 1.5), shape=SHAPE))
BALL = ball(GRID, 6.0)
SETTINGS = "name: test\npreprocess: {crop_3d: {size: 24}, images_2d: {size: 32}}\n"


def nifti(data=None, matrix=GRID.affine, **header):
    data = np.where(BALL, 300, 0).astype(np.int16) if data is None else data
    image = nib.Nifti1Image(data, matrix)
    image.set_qform(matrix, code=1)
    for key, value in header.items():
        image.header[key] = value
    return image


def with_hole(value):
    data = np.where(BALL, 300, 0).astype(np.float32)
    data[3, 3, 3] = value
    return data


def sheared():
    matrix = GRID.affine.copy()
    matrix[:3, 1] += 0.3 * matrix[:3, 0]
    image = nib.Nifti1Image(np.zeros(SHAPE, np.int16), matrix)
    image.set_qform(None, code=0)
    return image


def disagreeing():
    image = nifti()
    other = GRID.affine.copy()
    other[0, 3] += 7
    image.set_qform(other, code=1)
    return image


def in_metres():
    image = nifti(matrix=np.diag([0.001, 0.001, 0.001, 1]) @ GRID.affine)
    image.header.set_xyzt_units("meter")
    return image


def mask(drawn):
    return nifti(np.asarray(drawn, dtype=np.uint8))


def one_voxel():
    drawn = np.zeros(SHAPE)
    drawn[10, 10, 10] = 1
    return drawn


GOOD_MASK = mask(BALL)
FAULTS = {
    "empty_mask": (nifti(), mask(np.zeros(SHAPE)), "the mask is empty"),
    "one_voxel": (nifti(), mask(one_voxel()), "the mask is a single voxel"),
    "outside": (
        nifti(),
        nifti(BALL.astype(np.uint8), affine(center=(500, 0, 0), shape=SHAPE)),
        "does not overlap|another position",
    ),
    "two_masks": (nifti(), mask(BALL.astype(int) + np.roll(BALL, 3, axis=0)), "several labels"),
    "mask_of_nan": (nifti(), nifti(with_hole(np.nan)), "NaN or infinite"),
    "mask_4d": (
        nifti(),
        nifti(np.stack([BALL] * 2, axis=-1).astype(np.uint8)),
        "the mask: the volume has 4 axes",
    ),
    "nan": (nifti(with_hole(np.nan)), GOOD_MASK, "NaN or infinite"),
    "infinite": (nifti(with_hole(np.inf)), GOOD_MASK, "NaN or infinite"),
    "time_series": (nifti(np.zeros((*SHAPE, 3), np.int16)), GOOD_MASK, "4 axes"),
    "no_spacing": (nifti(pixdim=[1, 0, 1, 1, 0, 0, 0, 0]), GOOD_MASK, "spacing is not positive"),
    "sheared": (sheared(), GOOD_MASK, "not at right angles"),
    "disagreeing": (disagreeing(), GOOD_MASK, "sform and qform disagree"),
    "metres": (in_metres(), GOOD_MASK, "not in mm|implausible in mm"),
    "metres_mask": (
        nifti(),
        nifti(BALL.astype(np.uint8), np.diag([1e-3] * 3 + [1]) @ GRID.affine),
        "implausible in mm",
    ),
}


@pytest.fixture
def opened(study):
    study.settings_file.write_text(SETTINGS)
    return Study.open(study.root)


def test_every_fault_is_named_and_the_other_cases_are_made(opened):
    border = np.zeros(SHAPE)
    border[:5, 10:16, 10:16] = 1
    cases = {"good": (nifti(), GOOD_MASK, None), "border": (nifti(), mask(border), None), **FAULTS}
    cases["truncated"] = (nifti(), GOOD_MASK, "ends early")
    cases["truncated_mask"] = (nifti(), GOOD_MASK, "the mask: the file ends early")
    rows = ["case_id,label,image,mask"]
    for name, (image, drawn, _) in cases.items():
        nib.save(image, opened.root / f"{name}.nii.gz")
        nib.save(drawn, opened.root / f"{name}-drawn.nii.gz")
        rows.append(f"{name},benign,{name}.nii.gz,{name}-drawn.nii.gz")
    for name in ("truncated", "truncated_mask-drawn"):
        path = opened.root / f"{name}.nii.gz"
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    opened.cohort_csv.write_text("\n".join(rows))
    outcomes = {
        outcome.item.case.case_id: outcome for outcome in workflow.preprocess(opened, workers=1)
    }
    table = pd.read_csv(opened.preprocess_csv, keep_default_na=False).set_index("case_id")
    for name, (_, _, problem) in cases.items():
        error = outcomes[name].error
        if problem is None:
            assert error is None, error
            assert open_nifti(opened.crop(name, "3d")).read().shape == (24, 24, 24)
            continue
        assert error is not None, name
        assert any(part in error.problem for part in problem.split("|")), (name, error.problem)
        assert error.case == name
        assert error.file is not None
        assert not opened.crop(name, "3d").exists()
        assert table.loc[name, "status"] == "failed"
        assert error.problem in table.loc[name, "reason"]
    assert not list(opened.root.rglob(".writing-*"))


def small_case(opened, number=0):
    return case_of(opened, np.where(BALL, 300 + number, 0), GRID, BALL)


def test_a_full_disk_in_mid_write_leaves_no_half_file(opened, tmp_path):
    """A real disk, of 200 KiB: the crop does not fit."""
    probe = ["unshare", "-rm", "mount", "-t", "tmpfs", "none", str(tmp_path)]
    if (
        not shutil.which("unshare")
        or subprocess.run(probe, capture_output=True, check=False).returncode
    ):
        pytest.skip("no disk of its own can be mounted here")
    opened.settings_file.write_text(SETTINGS.replace("24", "96"))
    small_case(opened)
    code = textwrap.dedent(f"""
        import subprocess, sys
        from pathlib import Path
        from ctbone.cohort import Case
        from ctbone.errors import StudyError
        from ctbone.preprocessing import preprocess_case
        from ctbone.study import Study
        root = Path({str(opened.root)!r})
        (root / "crops").mkdir()
        crops = root / "crops"
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(crops)], check=True)
        case = Case("P1", "P1", "benign", "internal", root, root / "masks" / "P1.nii.gz")
        try:
            preprocess_case(Study.open(root), case)
        except StudyError as error:
            print(error)
        left = [path for path in crops.rglob("*") if "3d" in str(path) and path.is_file()]
        print("left:", [path.name for path in left])
        """)
    done = subprocess.run(
        ["unshare", "-rm", sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "No space left on device" in done.stdout
    assert "free some space on the disk" in done.stdout
    assert "P1.nii'" not in done.stdout.split("left:")[1]


@pytest.mark.parametrize("moment", ["3d", "2d_mask"])
def test_killed_in_mid_write_and_run_again(opened, moment, monkeypatch):
    """SIGKILL while a file is half-written: the next run makes what an undisturbed run makes."""
    case = small_case(opened)
    preprocess_case(opened, case)
    expected = {path: path.read_bytes() for path in (opened.root / "crops").rglob("*.nii")}
    shutil.rmtree(opened.root / "crops")
    small_case(opened, number=50)
    preprocess_case(opened, case)  # what an earlier run has left, of another volume
    small_case(opened)
    code = textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        from ctbone import nifti
        from ctbone.cohort import Case
        from ctbone.preprocessing import preprocess_case
        from ctbone.study import Study
        writer = nifti._writer
        def half(path, level):
            file = writer(path, level)
            if path.parent.name == {moment!r}:
                file.write(b"half"); file.flush(); os.kill(os.getpid(), signal.SIGKILL)
            return file
        nifti._writer = half
        root = Path({str(opened.root)!r})
        case = Case("P1", "P1", "benign", "internal", root, root / "masks" / "P1.nii.gz")
        preprocess_case(Study.open(root), case)
        """)
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    for path in (opened.root / "crops").rglob("*.nii"):
        if not path.name.startswith("."):
            open_nifti(path).read()  # whole, old or new
    monkeypatch.setattr(
        "ctbone.study._sweep", __import__("ctbone.study", fromlist=["_sweep"])._sweep.__wrapped__
    )
    preprocess_case(opened, case)
    assert {path: path.read_bytes() for path in (opened.root / "crops").rglob("*.nii")} == expected
    assert record_of(opened.crop("P1", "3d")).is_file()


def test_killed_at_any_time(opened):
    """SIGKILL at random moments; the last run makes what an undisturbed run makes."""
    case = small_case(opened)
    code = textwrap.dedent(f"""
        import shutil
        from pathlib import Path
        from ctbone.cohort import Case
        from ctbone.preprocessing import preprocess_case
        from ctbone.study import Study
        root = Path({str(opened.root)!r})
        case = Case("P1", "P1", "benign", "internal", root, root / "masks" / "P1.nii.gz")
        print("ready", flush=True)
        while True:
            preprocess_case(Study.open(root), case)
            for record in (root / "crops").rglob("*.json"):
                record.unlink()
        """)
    for shot in range(2):
        with subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True
        ) as running:
            running.stdout.readline()
            time.sleep(0.05 + 0.07 * shot)
            os.kill(running.pid, signal.SIGKILL)
    for path in (opened.root / "crops").rglob("*.nii"):
        if not path.name.startswith("."):
            open_nifti(path).read()
    preprocess_case(opened, case)
    assert open_nifti(opened.crop("P1", "3d")).read().max() == 300
