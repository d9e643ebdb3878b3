"""Run ``ctbone`` in this process, as the command line does."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from ctbone import cli


@dataclass(frozen=True)
class Done:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def ctbone(monkeypatch, capsys):
    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["ctbone", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Done(int(stopped.value.code or 0), captured.out, captured.err)

    return run


@pytest.fixture
def converted(ctbone, tmp_path):
    """Convert a folder; return the voxels (slice, row, column) and the record."""

    def run(folder: Path, *options):
        out = tmp_path / "converted.nii"
        done = ctbone("convert", folder, out, *options)
        assert (done.code, done.err) == (0, "")
        image = nib.load(out)
        record = json.loads(out.with_suffix(".json").read_text())
        return np.asarray(image.dataobj).transpose(2, 1, 0), record

    return run


@pytest.fixture
def refused(ctbone, tmp_path):
    """Convert a folder that is refused; return the message."""

    def run(folder: Path, *options):
        out = tmp_path / "refused.nii"
        done = ctbone("convert", folder, out, *options)
        assert (done.code, done.out) == (2, "")
        assert not out.exists()
        return done.err

    return run
