"""The error of preprocessing."""

from __future__ import annotations

from pathlib import Path

from ctbone.errors import NiftiError, PreprocessError
from ctbone.nifti import NiftiFile, open_nifti


def open_volume(path: Path, case: str, what: str, remedy: str | None = None) -> NiftiFile:
    """Open a NIfTI file; what is wrong with it is told as a fault of ``what`` (the image, the mask)."""
    try:
        return open_nifti(path, case)
    except NiftiError as error:
        raise of_nifti(error, what, remedy) from None


def of_nifti(error: NiftiError, what: str, remedy: str | None = None) -> PreprocessError:
    """Turn a fault of a NIfTI file into a fault of the case's image or mask."""
    return PreprocessError(
        f"{what}: {error.problem}",
        case=error.case,
        file=error.file,
        found=error.found,
        expected=error.expected,
        remedy=error.remedy or remedy,
    )
