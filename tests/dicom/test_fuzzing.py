"""A sample of the fuzzer's inputs; ``python -m tests.dicom.fuzzing`` runs more."""

from __future__ import annotations

import os

import numpy as np

from tests.fuzzing import fuzz

from . import fuzzing


def test_damaged_series_end_in_a_volume_or_a_dicom_error(tmp_path, capfd):
    count = int(os.environ.get("CTBONE_FUZZ", "150"))
    seed = int(os.environ.get("CTBONE_FUZZ_SEED", "0"))
    assert fuzz(fuzzing.DamagedSeries(), count, seed) == []
    assert capfd.readouterr() == ("", "")


def test_the_fuzzer_damages_files_and_detects_failures(tmp_path, monkeypatch):
    series = fuzzing.originals(tmp_path / "originals")
    rng = np.random.default_rng(0)
    assert all(fuzzing.mutant(one, series[0][0], rng) != one for one in series[:3])
    assert all(fuzzing.attempt(one, tmp_path / "try") == "" for one in reversed(series))
    assert (tmp_path / "try" / "out.nii").exists(), "the plain series came last"
    monkeypatch.setattr(fuzzing, "convert_series", lambda *_: 1 / 0)
    assert fuzzing.attempt(series[0], tmp_path / "try").startswith("ZeroDivisionError")
