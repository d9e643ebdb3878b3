"""Run the other converters that are installed on the files of one series."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata, util
from pathlib import Path

_CHILD = Path(__file__).with_name("child.py")
_SECONDS = 600.0
"""Time limit of one conversion."""
_REFUSALS = {
    "SLICE_INCREMENT_INCONSISTENT": "it takes no uneven gaps between slices",
    "NON_CUBICAL_IMAGE/GANTRY_TILT": "it takes no gantry tilt",
    "IMAGE_ORIENTATION_INCONSISTENT": "it takes no mixed orientations",
    "INSTANCE_NUMBER_INCONSISTENT": "it takes no gaps in the instance numbers",
    "NOT_A_VOLUME": "it finds no volume in the slices",
    "TOO_FEW_SLICES/LOCALIZER": "it takes four slices or more",
    "IMPLICIT_VR_ENHANCED_DICOM": "it takes no enhanced files in implicit VR",
    "UNSUPPORTED_DATA": "it does not support this kind of data",
    "INCONSISTENT_ACQUISITION_NUMBERS": "it takes one acquisition number a series",
    "MISSING_DICOM_FILES": "it finds no slices",
    "NON_IMAGING_DICOM_FILES": "it finds no images",
    "NO_DICOM_FILES_FOUND": "it finds no DICOM files",
}
"""Codes of dicom2nifti, in words; other texts may quote the header and are not shown."""


@dataclass(frozen=True)
class Converter:
    """Another converter.

    Attributes
    ----------
    name, version
        Of the program or library.
    command
        The program; None where the library runs in a Python process.
    """

    name: str
    version: str
    command: str | None = None


@dataclass(frozen=True)
class Converted:
    """What a converter made of a series.

    Attributes
    ----------
    files
        NIfTI files; empty where it made none.
    reason
        Why there are none.
    """

    files: tuple[Path, ...]
    reason: str = ""


@cache
def installed() -> tuple[Converter, ...]:
    """Return the converters on this machine: dicom2nifti, SimpleITK and dcm2niix."""
    found = [
        Converter(name, metadata.version(name))
        for name in ("dicom2nifti", "SimpleITK")
        if util.find_spec(name) is not None
    ]
    command = _dcm2niix()
    if command is not None:
        done = subprocess.run([command, "-v"], capture_output=True, text=True, check=False)
        version = re.search(r"v(\d[\d.]+)", done.stdout)
        found.append(Converter("dcm2niix", version[1] if version else "", command))
    return tuple(found)


def convert(converter: Converter, folder: Path, out: Path) -> Converted:
    """Convert a folder that holds one series into an empty folder."""
    command = (
        [sys.executable, str(_CHILD), converter.name, str(folder), str(out)]
        if converter.command is None
        else [converter.command, "-z", "n", "-b", "n", "-f", "volume", "-o", str(out), str(folder)]
    )
    try:
        quiet = subprocess.DEVNULL
        done = subprocess.run(
            command, stdin=quiet, stdout=quiet, stderr=quiet, timeout=_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return Converted((), f"it did not end within {_SECONDS:.0f} s")
    files = tuple(sorted(out.glob("*.nii")))
    if files:
        return Converted(files)
    told = out / "reason"
    code = told.read_text() if told.is_file() else ""
    if done.returncode < 0:
        return Converted((), "it crashed")
    return Converted((), _REFUSALS.get(code, "it refuses the series"))


def linked(files: Sequence[Path], folder: Path) -> Path:
    """Show the files of a series in a new folder, under names that say nothing."""
    folder.mkdir()
    for number, file in enumerate(files):
        link = folder / f"{number:05d}.dcm"
        try:
            link.symlink_to(file.resolve())
        except OSError:  # a file system, or Windows, without links
            shutil.copyfile(file, link)
    return folder


def _dcm2niix() -> str | None:
    if util.find_spec("dcm2niix") is not None:
        import dcm2niix

        return str(dcm2niix.bin)
    return shutil.which("dcm2niix")
