"""A small study folder that every room's tests can stand on."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import hypothesis
import pytest

from ctbone.study import Study

# The same inputs in every run, so that a run that passes here passes everywhere. CTBONE_EXPLORE=1
# draws new ones: a search for failures, not a check of a change.
hypothesis.settings.register_profile("same", derandomize=True)
if not os.environ.get("CTBONE_EXPLORE"):
    hypothesis.settings.load_profile("same")


# Checks of the arithmetic that tests make are remembered apart from the user's.
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="ctbone-cache-")


def cohort_rows(
    patients: int = 30, external: int = 6, malignant_every: int = 2
) -> list[dict[str, str]]:
    """Rows of a cohort table: two classes, one external centre, patient P001 with two cases."""
    rows = []
    for number in range(patients + external):
        internal = number < patients
        rows.append(
            {
                "case_id": f"C{number:03d}",
                "patient_id": "P001" if number == 3 else f"P{number:03d}",
                "label": "malignant" if number % malignant_every else "benign",
                "cohort": "internal" if internal else "centre2",
                "image": f"dicom/C{number:03d}",
                "mask": f"masks/C{number:03d}.nii.gz",
                "age": str(30 + number),
                "sex": "F" if number % 3 else "M",
            }
        )
    return rows


def write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def study(tmp_path) -> Study:
    """A study with settings and a cohort table, and no images."""
    root = tmp_path / "study"
    root.mkdir()
    (root / "study.yaml").write_text("name: test\n")
    write_rows(root / "cohort.csv", cohort_rows())
    return Study.open(root)
