"""The floors of docs/architecture.md: no stage imports another, and nothing imports upward."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "ctbone"
STAGES = {
    *("phantom", "dicom", "preprocessing", "auditing", "training", "inference", "fusion"),
    *("radiographs", "release", "reporting", "reader_study", "planning", "explaining", "reading"),
    "manuscript",
}
SHARED = {
    "masks": {"cropping", "preprocessing", "transforms"},
    "cropping": {"preprocessing", "transforms"},
    "document": {
        *("preprocessing", "training", "reporting", "auditing", "reader_study", "planning"),
        *("explaining", "manuscript"),
    },
    "viewer": {"preprocessing", "reading", "reporting"},
    "learning": {"training", "release"},
    "models": {
        *("learning", "training", "inference", "release", "transforms", "auditing", "explaining"),
    },
}
ABOVE = {"transforms": {"dicom"}, "pacs": {"dicom"}, "second_opinion": {"dicom"}}
"""Rooms on the floor of order that may import these stages only."""
ORDER = {
    *("workflow", "study_check", "machine_check", "status_page", "sample_sizes"),
    *("dicom_out", "cases", "new_patient", "results", "cli"),
    *("__main__", "__init__"),
}


def rooms():
    return {path.stem for path in PACKAGE.glob("*.py")} | {
        path.parent.name for path in PACKAGE.glob("*/__init__.py")
    }


def room_of(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(file):
    """Rooms that a file imports anywhere in it, inside functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module] + [
                f"{node.module}.{alias.name}" for alias in node.names if node.module == "ctbone"
            ]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.startswith("ctbone."):
                yield name.split(".")[1]


@pytest.mark.parametrize(
    "file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE))
)
def test_nothing_imports_upward_or_across(file):
    room = room_of(file)
    if room in ORDER:
        return
    ground = rooms() - STAGES - set(SHARED) - set(ABOVE) - ORDER
    allowed = ground | {room} | ABOVE.get(room, set())
    allowed |= {shared for shared, users in SHARED.items() if room in users}
    assert set(imported(file)) - {"__version__"} <= (allowed if room not in ground else ground)


def test_the_ground_floor_is_written_down():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    (floor,) = re.findall(r"^1\. \*\*Ground\.\*\*(.*?)^2\. ", text, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", floor)) == rooms() - STAGES - set(SHARED) - set(ABOVE) - ORDER
