"""After kill -9 of a command, none of the processes that it started remains."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import cohort_rows, write_rows
from tests.dicom.writer import Plan, ramp, write_series
from tests.models.small_study import model_of, small_study

LINUX = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")


def started(mark):
    """Process numbers of all processes that inherited an environment variable of a test."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state = (folder / "stat").read_text().rpartition(")")[2].split()[0]
            if state != "Z" and mark.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def until(condition, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def kill_while_it_works(arguments, *, processes, busy):
    """Run a command, kill it when ``busy()`` holds, and return the processes that remain."""
    mark = f"ORPHANS_OF={secrets.token_hex(8)}"
    name, _, value = mark.partition("=")
    environment = {**os.environ, name: value, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = subprocess.Popen(
        [sys.executable, "-m", "ctbone", *map(str, arguments)],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert until(lambda: len(started(mark)) >= processes and busy(), 120)
        command.send_signal(signal.SIGKILL)
        command.wait()
        until(lambda: not started(mark), 20)
        return started(mark)
    finally:
        for process in started(mark):
            os.kill(process, signal.SIGKILL)


@LINUX
def test_training_of_several_folds(tmp_path):
    long = {"epochs": 100_000}
    study = small_study(tmp_path, models={"3d": model_of("3d", training=long)})
    left = kill_while_it_works(
        ["train", "--study", study.root, "--at-once", 2],
        processes=4,  # the command, the fork server and two workers
        busy=lambda: all((study.run_folder("3d", k) / "metrics.csv").is_file() for k in (0, 1)),
    )
    assert left == []


@LINUX
def test_preprocessing(study, tmp_path):
    scan = tmp_path / "scan"
    write_series(scan, Plan(ramp(60, 96, 96)))
    rows = [{**row, "image": str(scan), "mask": ""} for row in cohort_rows()]
    write_rows(study.root / "cohort.csv", rows)
    left = kill_while_it_works(
        ["preprocess", "--study", study.root, "--workers", 2],
        processes=4,
        busy=lambda: any((study.root / "nifti").glob("*")),
    )
    assert left == []


@LINUX
def test_the_synthetic_patients_of_the_demo(tmp_path):
    left = kill_while_it_works(
        ["demo", tmp_path / "demo", "--workers", 2],
        processes=3,
        busy=lambda: any((tmp_path / "demo").glob("dicom/*/*")),
    )
    assert left == []
