import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress

import pytest

from ctbone import lock as lock_module
from ctbone.errors import LockError
from ctbone.lock import locked
from tests.conftest import cohort_rows, write_rows
from tests.dicom.writer import Plan, ramp, write_series
from tests.models.small_study import model_of, small_study
from tests.test_cli import ctbone
from tests.test_orphans import LINUX, until

LONG = {"3d": model_of("3d", training={"epochs": 100_000})}


def write(path, **changes):
    """Write a lock of another process; by default of another machine, touched now."""
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = {
        "host": "gpu01",
        "machine": "elsewhere",
        "process": 4711,
        "started": "",
        "since": "2031-04-05 06:07:08",
        "token": "aa",
    }
    path.write_text(json.dumps({**holder, **changes}))


def age(path, seconds):
    then = time.time() - seconds
    os.utime(path, (then, then))


def started(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "ctbone", *map(str, arguments)]
    return subprocess.Popen(
        command,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        # A background job of a shell ignores SIGINT, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_a_lock_is_gone_after_the_block_even_after_an_error(tmp_path):
    path = tmp_path / "folder" / ".lock"
    with suppress(ZeroDivisionError), locked(path, "it is made", remedy="wait"):
        assert json.loads(path.read_text())["process"] == os.getpid()
        raise ZeroDivisionError
    assert list(path.parent.iterdir()) == []


def test_the_message_names_holder_and_remedy(tmp_path):
    write(tmp_path / ".lock")
    with (
        pytest.raises(LockError, match="it is made by another process") as caught,
        locked(tmp_path / ".lock", "it is made", remedy="wait for it"),
    ):
        pass
    for words in ("host gpu01", "process 4711", "2031-04-05 06:07:08", "wait for it"):
        assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("holder", "silent", "taken_over"),
    [
        ({}, 300, False),
        ({}, 900, True),
        ({"machine": "here", "process": 2**22 + 1}, 0, True),  # above Linux's largest number
        ({"machine": "here", "process": os.getpid(), "started": "an earlier process"}, 0, True),
        (None, 10, False),
        (None, 90, True),
    ],
    ids=["elsewhere", "elsewhere, silent", "dead", "number reused", "unnamed", "unnamed, old"],
)
def test_a_stale_lock_is_taken_over(tmp_path, holder, silent, taken_over):
    path = tmp_path / ".lock"
    if holder is None:
        path.touch()
    else:
        here = {"machine": lock_module.machine()} if "machine" in holder else {}
        write(path, **{**holder, **here})
    age(path, silent)
    if taken_over:
        with locked(path, "it is made", remedy="wait"):
            assert json.loads(path.read_text())["process"] == os.getpid()
        assert list(tmp_path.iterdir()) == []
    else:
        with pytest.raises(LockError), locked(path, "it is made", remedy="wait"):
            pass


def test_the_holder_touches_its_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "_HEARTBEAT", 0.01)
    path = tmp_path / ".lock"
    with locked(path, "it is made", remedy="wait"):
        age(path, 900)
        assert until(lambda: time.time() - path.stat().st_mtime < 100, 5)


def test_one_at_a_time_of_many_that_find_a_stale_lock(tmp_path, monkeypatch):
    monkeypatch.setattr(lock_module, "_POLL", 0.002)
    path, inside, most = tmp_path / ".lock", [], []

    def work():
        with locked(path, "it is made", remedy="wait", wait=60):
            inside.append(1)
            most.append(len(inside))
            time.sleep(0.005)
            inside.pop()

    write(path)
    age(path, 900)
    threads = [threading.Thread(target=work) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 12
    assert list(tmp_path.iterdir()) == []


def test_a_lock_that_was_taken_over_is_not_removed(tmp_path):
    path = tmp_path / ".lock"
    with locked(path, "it is made", remedy="wait"):
        write(path)
    assert path.is_file()


@LINUX
def test_two_trainings_of_one_study_and_one_that_is_killed(tmp_path):
    study = small_study(tmp_path / "study", models=LONG)
    lock = study.run_folder("3d", 0) / ".lock"
    first = started("train", "--study", study.root, "--fold", 0)
    try:
        assert until(lambda: lock.is_file() and lock.read_text(), 60)
        second = ctbone("train", "--study", study.root, "--fold", 0)
    finally:
        first.send_signal(signal.SIGKILL)
        first.communicate()
    assert second.returncode == 2
    for words in ("fold 0 of model 3d", f"process {first.pid}", "since", "remedy", "--fold"):
        assert words in second.stderr
    assert lock.is_file()
    third = started("train", "--study", study.root, "--fold", 0)
    try:
        assert until(lambda: f'"process": {third.pid},' in lock.read_text(), 60)
    finally:
        third.send_signal(signal.SIGINT)
        third.communicate()
    assert not lock.exists()


def test_a_second_training_trains_the_other_folds_first(tmp_path):
    study = small_study(tmp_path / "study", models={"3d": model_of("3d")})
    write(study.run_folder("3d", 0) / ".lock")
    done = ctbone("train", "--study", study.root)
    assert (done.returncode, "host gpu01" in done.stderr) == (2, True)
    assert not (study.run_folder("3d", 0) / "card.json").exists()
    assert (study.run_folder("3d", 1) / "card.json").is_file()
    (study.run_folder("3d", 0) / ".lock").unlink()
    assert ctbone("train", "--study", study.root).returncode == 0
    left = study.run_folder("3d", 1) / ".lock"  # of a process killed after its last file
    write(left, machine=lock_module.machine(), process=2**22 + 1)
    assert ctbone("train", "--study", study.root).returncode == 0
    assert not left.exists()


def test_a_case_is_preprocessed_once(study, tmp_path):
    write_series(tmp_path / "scan", Plan(ramp(60, 96, 96)))
    rows = [{**row, "image": str(tmp_path / "scan"), "mask": ""} for row in cohort_rows()]
    write_rows(study.cohort_csv, rows)
    held = study.root / "nifti" / ".C000.lock"
    write(held)
    command = started("preprocess", "--study", study.root, "--case", "C000")
    try:
        time.sleep(8)
        assert command.poll() is None
        assert not study.nifti("C000").exists()
        held.unlink()
        command.communicate(timeout=60)
    finally:
        command.kill()
    assert study.nifti("C000").is_file()
    assert not list(study.root.rglob("*.lock*"))


@pytest.mark.slow
def test_a_scheduler_without_workers_is_named_after_seconds(tmp_path):
    study = small_study(tmp_path / "study", models={"3d": model_of("3d")})
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--port", "0"]
    address_file = tmp_path / "scheduler.json"
    command += ["--no-dashboard", "--scheduler-file", str(address_file)]
    scheduler = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        assert until(lambda: address_file.is_file() and address_file.read_text().endswith("}"), 60)
        address = json.loads(address_file.read_text())["address"]
        began = time.monotonic()
        done = ctbone("train", "--study", study.root, "--cluster", address)
        assert time.monotonic() - began < 90
    finally:
        scheduler.kill()
        scheduler.wait()
    assert done.returncode == 2
    assert f"found:    {address}, no worker within 15 s" in done.stderr
    assert f"dask worker {address}" in done.stderr
