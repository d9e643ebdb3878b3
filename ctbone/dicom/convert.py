"""A case's image, DICOM or NIfTI, to the study's NIfTI in HU, with the record of where it came from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

import ctbone
from ctbone.cohort import Case
from ctbone.config import DicomSettings
from ctbone.dicom.headers import walk
from ctbone.dicom.irregular import untilted_grid
from ctbone.dicom.series import Series, chosen, list_series
from ctbone.dicom.volume import Volume, read_series
from ctbone.errors import CtboneError, DicomError, StudyError
from ctbone.grid import Grid
from ctbone.nifti import open_nifti, to_hu, write_nifti
from ctbone.study import (
    Study,
    content_hash,
    file_hash,
    provenance,
    read_json,
    record_of,
    write_json,
)


def convert_series(folder: Path, out: Path, settings: DicomSettings) -> Path:
    """Write the one series of a folder that is taken as ``.nii`` or ``.nii.gz``, and its record beside it.

    Raises
    ------
    DicomError
        No series can be taken, or ``out`` has another suffix.
    """
    if not out.name.endswith((".nii", ".nii.gz")):
        raise DicomError(
            "the output must be a NIfTI file",
            file=out,
            expected="a name that ends in .nii or .nii.gz",
        )
    found = list_series(folder, settings)
    series = chosen(found, folder)
    volume = read_series(series)
    write_nifti(out, volume.data, volume.affine)
    versions = {"stage": "dicom", "ctbone": ctbone.__version__, "pydicom": pydicom.__version__}
    write_json(
        record_of(out),
        {**_told(volume, found), "settings": settings.model_dump(mode="json"), **versions},
    )
    return out


def convert_case(study: Study, case: Case) -> Path:
    """Make the study's volume of a case from its DICOM folder, DICOM file or NIfTI.

    Nothing is done where the record shows that the volume was made from the same files with the same settings. A
    NIfTI image is checked and written again as int16 HU; values below −1024 become −1024.

    Returns
    -------
    pathlib.Path
        ``study.nifti(case.case_id)``.

    Raises
    ------
    DicomError, NiftiError
        The image cannot be trusted; the case and the path of the cohort table are named.
    """
    out = study.nifti(case.case_id)
    source = _source(study, case)
    if _is_fresh(out, source):
        return out
    try:
        if _is_nifti(case.image):
            told = _rewrite(case, out)
        else:
            found = list_series(case.image, study.settings.dicom)
            volume = read_series(chosen(found, case.image, case.case_id))
            write_nifti(out, volume.data, volume.affine)
            told = _told(volume, found)
    except (DicomError, StudyError) as error:
        error.case = case.case_id
        raise
    content = {"source": source, "volume": file_hash(out), **told, **provenance(study, "dicom")}
    write_json(record_of(out), content)
    return out


def is_converted(study: Study, case: Case) -> bool:
    """Whether the study's volume of a case was made from the files of now with the settings of now.

    Raises
    ------
    DicomError
        The image does not exist.
    """
    return _is_fresh(study.nifti(case.case_id), _source(study, case))


def grid_of(study: Study, case: Case) -> Grid:
    """Return where a case's voxels will lie, from headers alone; what ``ctbone check`` compares masks with.

    Raises
    ------
    DicomError, NiftiError
        As ``convert_case``, as far as headers tell.
    """
    if _is_nifti(case.image):
        return open_nifti(case.image, case.case_id).grid
    try:
        series = chosen(list_series(case.image, study.settings.dicom), case.image, case.case_id)
    except DicomError as error:
        error.case = case.case_id
        raise
    assert series.stack is not None
    return (
        untilted_grid(series.stack)
        if series.stack.irregular
        else Grid(series.stack.shape, series.stack.affine)
    )


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz"))


def _source(study: Study, case: Case) -> str:
    """Hash what the volume is made from: every file's place, size and time, and the settings."""
    if not case.image.exists():
        raise DicomError("the image does not exist", case=case.case_id, file=case.image)
    root = case.image if case.image.is_dir() or _is_nifti(case.image) else case.image.parent
    files = []
    for path in walk(root):
        status = path.stat()
        files.append((str(path.relative_to(root)), status.st_size, status.st_mtime_ns))
    settings = study.settings.dicom.model_dump(mode="json")
    return content_hash([case.image.name, files, settings, ctbone.__version__])


def _is_fresh(out: Path, source: str) -> bool:
    try:
        record = read_json(record_of(out))
        return record.get("source") == source and record.get("volume") == file_hash(out)
    except (CtboneError, OSError):
        return False


def _rewrite(case: Case, out: Path) -> dict[str, Any]:
    nifti = open_nifti(case.image, case.case_id)
    values = nifti.read()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DicomError(
            "the volume holds values that are no numbers",
            case=case.case_id,
            file=case.image,
            found=f"{int(np.count_nonzero(~np.isfinite(values)))} voxels NaN or infinite",
            remedy="export it again in HU",
        )
    hu, below = to_hu(values)
    write_nifti(out, hu, nifti.grid.affine)
    return {"from": "nifti", "geometry": _geometry(nifti.grid), "air_voxels": below}


def _told(volume: Volume, found: list[Series]) -> dict[str, Any]:
    return {
        "from": "dicom",
        "geometry": _geometry(volume.grid),
        "scan": asdict(volume.meta),
        "air_voxels": volume.air_voxels,
        "resampled": volume.resampled or None,
        "series": [
            {
                "number": series.number,
                "modality": series.modality,
                "files": len(series.files),
                "slices": series.slices,
                "verdict": series.verdict,
                "reason": series.reason,
            }
            for series in found
        ],
    }


def _geometry(grid: Grid) -> dict[str, Any]:
    return {
        "shape": list(grid.shape),
        "spacing_mm": list(grid.spacing),
        "affine": grid.affine.tolist(),
    }
