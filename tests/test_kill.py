"""A command that is killed at a random moment and run again ends in the same files.

One moment for each command; the environment variable CTBONE_KILLS sets another number.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from ctbone.phantom.cohort import PhantomCohort, write_cohort
from tests.models.small_study import TINY

pytestmark = pytest.mark.slow
KILLS = int(os.environ.get("CTBONE_KILLS", "1"))
COMMANDS = {
    "convert": ["convert", "dicom/C1_001", "converted.nii.gz"],
    "preprocess": ["preprocess", "--workers", "2", "--qc"],
    "train": ["train", "--at-once", "2"],
    "audit": ["audit"],
    "predict": ["predict"],
    "fuse": ["fuse", "--with-reader", "scores.csv"],
    "report": ["report"],
    "evaluate": ["evaluate", "predictions/3d.csv", "--out", "evaluation"],
    "run": ["run", "--workers", "2"],
}
"""In the order in which a study needs them; ``run`` begins with the untouched study."""
SETTINGS = {
    "name": "kill",
    "folds": {"count": 2, "validation_share": 0.3},
    "preprocess": {"crop_3d": {"size": 16, "spacing": 4}, "images_2d": {"size": 16}},
    "training": {"epochs": 4, "batch_size": 8, "learning_rate": 0.01},
    "evaluation": {"bootstrap": 100},
    "models": {
        "3d": {"dim": "3d", "network": "densenet", "network_options": TINY},
        "2d": {"dim": "2d", "network": "densenet", "network_options": TINY},
    },
}


def run(study, arguments, kill_after=None):
    """Run a command in the study folder; kill it and its children after some seconds."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    command = subprocess.Popen(
        [sys.executable, "-m", "ctbone", *arguments],
        cwd=study,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        errors = command.communicate(timeout=kill_after)[1]
    except subprocess.TimeoutExpired:
        command.send_signal(signal.SIGKILL)
        command.communicate()
        return
    assert command.returncode == 0, errors


def contents(folder):
    """Content of every file, without times of computation and the memory of verified files.

    Two runs once compressed the same volumes into different streams of the same length (isal
    1.9.1, one of 80 runs; not reproduced in 10,000 compressions). So a volume stands for its
    uncompressed bytes, in its own file and where a record holds the hash of the file.
    """
    files = [file for file in sorted(folder.rglob("*")) if file.is_file()]
    volumes = {
        hashlib.sha256(file.read_bytes()).hexdigest(): hashlib.sha256(
            gzip.decompress(file.read_bytes())
        ).hexdigest()
        for file in files
        if file.name.endswith(".nii.gz")
    }
    return {
        file.relative_to(folder).as_posix(): content(file, volumes)
        for file in files
        if not file.name.startswith((".clock", ".custody.json"))
    }


def content(file, volumes):
    if file.suffix == ".csv":
        table = pd.read_csv(file, dtype=str)
        return table.drop(columns="seconds", errors="ignore").to_csv()
    if file.name == "checkpoint.pt":
        return tensors(torch.load(file, weights_only=True))
    if file.suffix == ".json":
        text = json.dumps(without_times(json.loads(file.read_text())), sort_keys=True)
        return re.sub(r"[0-9a-f]{64}", lambda digest: volumes.get(digest[0], digest[0]), text)
    if file.suffix == ".png" and file.parent.name == "qc":
        return hashlib.sha256(Image.open(file).tobytes()).hexdigest()  # a text holds the volume's
    if file.suffix in (".html", ".svg"):
        text = file.read_text(encoding="utf-8")
        return hashlib.sha256(re.sub(r"\d{4}-\d\d-\d\d[T ][\d:.]+", "", text).encode()).hexdigest()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return volumes.get(digest, digest)


def tensors(value):
    """Return a state as nested lists and hashes that can be compared."""
    if isinstance(value, torch.Tensor):
        return hashlib.sha256(value.numpy().tobytes()).hexdigest()
    if isinstance(value, dict):
        return {str(name): tensors(one) for name, one in value.items() if name != "seconds"}
    return [tensors(one) for one in value] if isinstance(value, list) else value


def without_times(value):
    if isinstance(value, dict):
        return {name: without_times(one) for name, one in value.items() if name != "seconds"}
    return [without_times(one) for one in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def stages(tmp_path_factory):
    """A copy of the study before each command, its end, and the seconds that it took."""
    folder = tmp_path_factory.mktemp("kill")
    study = folder / "study"
    cohort = PhantomCohort(internal=16, external={"centre2": 4}, scale=0.3)
    write_cohort(study, cohort)
    (study / "study.yaml").write_text(json.dumps(SETTINGS))  # JSON is YAML
    (study / ".scan-salt").write_text("0" * 32)  # otherwise drawn at random by preprocess
    stages = {}
    for name, arguments in COMMANDS.items():
        before = folder / f"before-{name}"
        if name == "run":
            study = folder / "whole"
            shutil.copytree(folder / "before-convert", study)
        shutil.copytree(study, before)
        began = time.monotonic()
        run(study, arguments)
        stages[name] = (before, contents(study), time.monotonic() - began)
    return stages


@pytest.mark.parametrize("number", range(KILLS))
@pytest.mark.parametrize("name", COMMANDS)
def test_a_killed_command_ends_in_the_same_files(stages, tmp_path, name, number):
    before, wanted, seconds = stages[name]
    moment = seconds * random.Random(f"{name} {number}").uniform(0.05, 1)
    study = tmp_path / "study"
    shutil.copytree(before, study)
    run(study, COMMANDS[name], kill_after=moment)
    wait_for_orphans(study)
    run(study, COMMANDS[name])
    found = contents(study)
    assert sorted(found) == sorted(wanted)
    assert [file for file in wanted if found[file] != wanted[file]] == []


def wait_for_orphans(study):
    """Wait until no process works in the study folder."""
    end = time.monotonic() + 30
    while time.monotonic() < end and any_in(study):
        time.sleep(0.1)
    assert not any_in(study)


def any_in(study):
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cwd").readlink() == study:
                return True
    return False
