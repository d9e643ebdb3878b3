"""Time the chain of custody on many cases: the first verification, and the next ones.

Run: python scripts/benchmarks/custody.py [CASES] [FILES of an image]
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
import time
from pathlib import Path

from ctbone.cohort import read_cohort
from ctbone.custody import crop_digests, inspect, source_content, source_place, source_stat
from ctbone.study import Study, provenance

CROP = bytes(32**3 * 2)
"""Voxels of a crop of 32³ int16; a case differs in its first bytes."""


def write_study(root: Path, cases: int, files: int) -> Study:
    """Write cases with the records that preprocessing writes; their files hold no image."""
    (root / "study.yaml").write_text("name: large\n")
    lines = ["case_id,label,cohort,image,mask"]
    for number in range(cases):
        name = f"C{number:05d}"
        lines.append(f"{name},{number % 2},internal,dicom/{name},masks/{name}.nii.gz")
        (root / "dicom" / name).mkdir(parents=True)
        for slice_number in range(files):
            (root / "dicom" / name / f"{slice_number}.dcm").write_bytes(name.encode())
    (root / "cohort.csv").write_text("\n".join(lines) + "\n")
    study = Study.open(root)
    for folder in ("masks", "nifti", "crops/3d", "crops/2d", "crops/3d_mask", "crops/2d_mask"):
        (root / folder).mkdir(parents=True)
    origin = provenance(study, "preprocess")
    for case in read_cohort(study):
        name = case.case_id
        content = name.encode() + CROP
        digest = hashlib.sha256(content).hexdigest()
        assert case.mask is not None
        case.mask.write_bytes(content)
        study.nifti(name).write_bytes(content)
        record = {
            "source": source_stat(study, case),
            "place": source_place(study, case.image),
            "content": source_content(case),
            "volume": digest,
            **origin,
        }
        (root / "nifti" / f"{name}.json").write_text(json.dumps(record, indent=1))
        for dim in ("3d", "2d"):
            study.crop(name, dim).write_bytes(content)
            study.crop_mask(name, dim).write_bytes(content)
            made = {
                "file": digest,
                "mask": digest,
                "case": {"case_id": name, "lesion": None},
                **origin,
                "inputs": {"image": digest, "mask": digest},
            }
            study.crop(name, dim).with_suffix(".json").write_text(json.dumps(made, indent=1))
    return study


def main(cases: int = 10_000, files: int = 1) -> None:
    """Print the seconds of the first and of the second verification."""
    with tempfile.TemporaryDirectory() as folder:
        study = write_study(Path(folder), cases, files)
        for what in ("first", "second"):
            began, computing = time.perf_counter(), time.process_time()
            links = inspect(study).links
            seconds, busy = time.perf_counter() - began, time.process_time() - computing
            current = sum(link.state == "current" for link in links)
            print(
                f"{what}: {cases} cases, {files} files each: {seconds:.1f} s "
                f"({busy:.1f} s of the processor), {current} links are current"
            )
        began = time.process_time()
        crop_digests(study, read_cohort(study), "3d", masks=True)
        print(f"crop digests: {time.process_time() - began:.1f} s of the processor")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
