"""Conversion and cropping of a cohort: on a Dask cluster, and resumed after a kill."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

from ctbone import workflow
from ctbone.nifti import write_nifti
from ctbone.study import Study

from ..conftest import write_rows
from .writer import Plan, ramp, write_series

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path.cwd()), "OMP_NUM_THREADS": "1"}


def cohort(
    root: Path, cases: int, slices: int = 12, side: int = 48, bad: int | None = None
) -> Study:
    """Write a study of small series with masks; series ``bad`` has a missing slice."""
    root.mkdir()
    (root / "study.yaml").write_text(
        "name: test\npreprocess: {crop_3d: {size: 16}, images_2d: {size: 16}}\n"
    )
    rows = []
    for k in range(cases):
        plan = Plan(ramp(slices, side, side, low=k))
        paths = write_series(root / "dicom" / f"C{k}", plan)
        if k == bad:
            paths[5].unlink()
        mask = np.zeros(plan.stored.shape[::-1], np.uint8)
        mask[10:20, 12:22, 3:8] = 1
        write_nifti(root / "masks" / f"C{k}.nii", mask, plan.affine)
        rows.append(
            {"case_id": f"C{k}", "patient_id": f"P{k}", "label": "malignant" if k % 2 else "benign",
             "cohort": "internal", "image": f"dicom/C{k}", "mask": f"masks/C{k}.nii"}
        )  # fmt: skip
    write_rows(root / "cohort.csv", rows)
    return Study.open(root)


def wait_for(condition, seconds=180):
    end = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > end:
            pytest.fail(f"no result within {seconds} s")
        time.sleep(0.02)
    return found


def stop(process):
    process.terminate()
    process.wait(timeout=30)


def test_a_scheduler_and_two_workers_prepare_a_cohort(tmp_path):
    study = cohort(tmp_path / "study", 3, bad=1)
    dask, quiet = (
        [sys.executable, "-m", "dask"],
        {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL},
    )
    known = tmp_path / "scheduler.json"
    with ExitStack() as stack:
        for command in (
            [
                "scheduler",
                "--host",
                "127.0.0.1",
                "--port",
                "0",
                "--no-dashboard",
                "--scheduler-file",
                str(known),
            ],
            *[["worker", "--scheduler-file", str(known), "--nthreads", "1", "--no-dashboard"]] * 2,
        ):
            if command[0] == "worker":
                wait_for(known.exists)
            process = subprocess.Popen([*dask, *command], env=ENVIRONMENT, cwd=tmp_path, **quiet)
            stack.callback(stop, process)
        outcomes = workflow.preprocess(study, cluster=json.loads(known.read_text())["address"])
    errors = {outcome.item.case.case_id: outcome.error for outcome in outcomes}
    assert [case for case, error in errors.items() if error] == ["C1"]
    assert "missing slices at 112.50 mm" in str(errors["C1"])
    assert {path.name for path in (study.root / "crops" / "3d").glob("*.nii")} == {
        f"C{k}.nii" for k in (0, 2)
    }
    here = cohort(tmp_path / "alone", 3, bad=1)
    workflow.preprocess(here, workers=1)
    for k in (0, 2):
        for dim in ("2d", "3d"):
            assert study.crop(f"C{k}", dim).read_bytes() == here.crop(f"C{k}", dim).read_bytes()


def test_killed_and_started_again_it_does_only_what_is_missing(tmp_path):
    study = cohort(tmp_path / "study", 10, slices=40, side=192)
    command = [
        sys.executable,
        "-m",
        "ctbone",
        "preprocess",
        "--study",
        str(study.root),
        "--workers",
        "2",
    ]
    crops = study.root / "crops" / "2d"

    def finished():
        return {path.stem: path.stat().st_mtime_ns for path in crops.glob("[!.]*.json")}

    with subprocess.Popen(
        command,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        wait_for(finished)
        os.killpg(process.pid, signal.SIGKILL)
    before = finished()
    assert 0 < len(before) < 10
    images = {
        path.name: path.stat().st_mtime_ns for path in (study.root / "nifti").glob("[!.]*.nii.gz")
    }
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    after = finished()
    assert len(after) == 10
    assert {case: after[case] for case in before} == before
    # A volume is made again only if its record was not yet written when the process was killed.
    remade = [
        name
        for name, at in images.items()
        if (study.root / "nifti" / name).stat().st_mtime_ns != at
    ]
    assert len(remade) <= 2
    assert not {name.removesuffix(".nii.gz") for name in remade} & set(before)
