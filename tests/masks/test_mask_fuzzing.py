"""A sample of the fuzzer's inputs; ``scripts/bench fuzz_scanner`` runs 20,000."""

from __future__ import annotations

from tests.fuzzing import fuzz

from . import mask_fuzzing


def test_damaged_masks_end_in_a_lesion_or_an_error_of_ctbone():
    assert fuzz(mask_fuzzing.prepare, count=300, seed=0) == []


def test_the_fuzzer_reads_sound_masks_and_detects_failures(tmp_path, monkeypatch):
    files = mask_fuzzing.originals(tmp_path / "originals")
    assert len(files) == 13
    read = []
    real = mask_fuzzing.read_lesion
    monkeypatch.setattr(mask_fuzzing, "read_lesion", lambda *a: read.append(real(*a)))
    for name, content in files.items():
        for label in (None, 1, 2, 7, "lesion"):
            assert mask_fuzzing.attempt(tmp_path / name, content, label) == ""
    assert len(read) >= 20
    monkeypatch.setattr(mask_fuzzing, "read_lesion", lambda *_: 1 / 0)
    found = mask_fuzzing.attempt(tmp_path / "one.nii", files["one.nii"], None)
    assert found.startswith("ZeroDivisionError")
