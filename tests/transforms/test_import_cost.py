"""MONAI is imported once a command, and not at all where no crop is to be made."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import numpy as np

from ctbone.grid import Grid
from ctbone.study import Study
from ctbone.workflow import preprocess
from tests.preprocessing.scans import affine, ball, case_of, save

GRID = Grid((30, 30, 30), affine(shape=(30, 30, 30)))
REPORT = """
import sys
from pathlib import Path

def has_monai(item):
    return "monai" in sys.modules
"""


def two_cases(study):
    drawn = ball(GRID, 6.0)
    rows = ["case_id,label,image,mask"]
    for name in ("A", "B"):
        mask = case_of(study, 300 * drawn, GRID, drawn, case_id=name).mask
        study.nifti(name).unlink()
        image = save(study.root / f"{name}.nii.gz", (300 * drawn).astype(np.int16), GRID.affine)
        rows.append(f"{name},benign,{image},{mask}")
    study.cohort_csv.write_text("\n".join(rows) + "\n")
    study.settings_file.write_text("name: test\npreprocess: {crop_3d: {size: 16}}\n")
    return Study.open(study.root)


def run(folder, code):
    (folder / "jobs.py").write_text(REPORT)
    script = textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_process_and_no_monai_where_all_cases_are_up_to_date(study, tmp_path):
    opened = two_cases(study)
    first = [outcome.result for outcome in preprocess(opened, workers=1)]
    out = run(
        tmp_path,
        f"""
        import sys
        from pathlib import Path
        from ctbone import workers, workflow
        from ctbone.study import Study
        workers._pool = None  # starting a process would fail
        made = workflow.preprocess(Study.open(Path({str(opened.root)!r})), workers=2)
        print([outcome.result.voxel_hash for outcome in made], "monai" in sys.modules)
        """,
    )
    assert out.strip() == f"{[summary.voxel_hash for summary in first]} False"


def test_one_stale_case_is_found(study):
    opened = two_cases(study)
    preprocess(opened, workers=1)
    made = {name: opened.crop(name, "3d").stat().st_mtime_ns for name in ("A", "B")}
    opened.crop("B", "3d").write_bytes(b"damaged")
    outcomes = preprocess(opened, workers=2)
    assert [outcome.item.case.case_id for outcome in outcomes] == ["A", "B"]
    assert opened.crop("A", "3d").stat().st_mtime_ns == made["A"]
    assert opened.crop("B", "3d").stat().st_size > 7


def test_processes_are_forked_from_one_that_has_imported_monai(tmp_path):
    out = run(
        tmp_path,
        """
        import sys
        from ctbone.workers import map_cases
        from jobs import has_monai
        if __name__ == "__main__":
            preload = ["ctbone.transforms"]
            outcomes = map_cases(has_monai, range(3), workers=2, preload=preload)
            print([outcome.result for outcome in outcomes], "monai" in sys.modules)
        """,
    )
    assert out.strip() == "[True, True, True] False"
