"""Convert a case's image, DICOM or NIfTI, to NIfTI in HU, with a record of its origin."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

import ctbone
from ctbone.cohort import Case
from ctbone.config import DicomSettings
from ctbone.custody import source_content, source_place, source_stat
from ctbone.dicom.regular_grid import untilted_grid
from ctbone.dicom.series import Series, list_series, taken_series
from ctbone.dicom.volume import Volume, read_series
from ctbone.errors import CtboneError, DicomError, StudyError
from ctbone.grid import Grid
from ctbone.hu_histogram import image_doubt, sample_of
from ctbone.nifti import open_nifti, to_hu, write_nifti
from ctbone.scan_identity import (
    ScanIdentity,
    identify,
    identity_of_record,
    study_salt,
    uid_keys,
)
from ctbone.study import (
    Study,
    file_hash,
    provenance,
    read_json,
    record_of,
    write_json,
)


def convert_series(
    folder: Path, out: Path, settings: DicomSettings, number: int | None = None
) -> Path:
    """Convert the selected series of a folder to ``.nii`` or ``.nii.gz``, with a record beside it.

    ``number`` names a series of the list instead.

    Raises
    ------
    DicomError
        No series can be converted, or ``out`` has another suffix.
    """
    if not out.name.endswith((".nii", ".nii.gz")):
        raise DicomError(
            "the output must be a NIfTI file",
            file=out,
            expected="a name that ends in .nii or .nii.gz",
        )
    found = list_series(folder, settings, number)
    series = taken_series(found, folder)
    volume = read_series(series)
    write_nifti(out, volume.data, volume.affine)
    versions = {"stage": "dicom", "ctbone": ctbone.__version__, "pydicom": pydicom.__version__}
    write_json(
        record_of(out),
        {**_record(volume, found), "settings": settings.model_dump(mode="json"), **versions},
    )
    return out


def convert_case(study: Study, case: Case) -> Path:
    """Convert the DICOM folder, DICOM file or NIfTI of a case to the study's volume.

    A volume that was made from the same files with the same settings is kept. A NIfTI image is
    checked and written as int16 HU; values below −1024 become −1024. If its values cannot be HU,
    the record says so in ``note``.

    Returns
    -------
    pathlib.Path
        ``study.nifti(case.case_id)``.

    Raises
    ------
    DicomError, NiftiError
        The image cannot be converted; the error names the case and the path in the cohort table.
    """
    out = study.nifti(case.case_id)
    source = _source(study, case)
    if _is_fresh(study, case, source):
        return out
    with ThreadPoolExecutor(1) as aside:
        content = aside.submit(source_content, case)
        try:
            if _is_nifti(case.image):
                record, identity = _convert_nifti(case, out)
            else:
                found = list_series(case.image, study.settings.dicom)
                series = taken_series(found, case.image, case.case_id)
                volume = read_series(series)
                write_nifti(out, volume.data, volume.affine)
                record = _record(volume, found)
                keys = _uid_keys(series, study_salt(study))
                identity = identify(volume.data, volume.affine, keys.pop("instances"))
                identity = replace(identity, **keys)
        except (DicomError, StudyError) as error:
            error.case = case.case_id
            raise
        origin = {
            "source": source,
            "place": source_place(study, case.image),
            "content": content.result(),
            "volume": file_hash(out),
            "salt": _salt_digest(study),
            "identity": identity.to_record(),
        }
    write_json(record_of(out), {**origin, **record, **provenance(study, "dicom")})
    return out


def is_converted(study: Study, case: Case) -> bool:
    """Whether the study's volume of a case was made from its present files and settings.

    Raises
    ------
    DicomError
        The image does not exist.
    """
    return _is_fresh(study, case, _source(study, case))


@dataclass(frozen=True)
class ImageHeader:
    """What the headers of a case's image say.

    Attributes
    ----------
    grid
        The grid of the volume.
    identity
        That of the study's volume if it was made from the present files, else without voxels. Its
        digests of UIDs are made without the study's salt and must not be written.
    series
        The series that is taken; None for a NIfTI.
    """

    grid: Grid
    identity: ScanIdentity
    series: Series | None = None


def read_header(study: Study, case: Case) -> ImageHeader:
    """Read the headers of a case's image, as ``ctbone check`` needs them.

    Raises
    ------
    DicomError, NiftiError
        As ``convert_case``, for errors that the headers show.
    """
    recorded = recorded_identity(study, case) or ScanIdentity()
    if _is_nifti(case.image):
        return ImageHeader(open_nifti(case.image, case.case_id).grid, recorded)
    try:
        series = taken_series(
            list_series(case.image, study.settings.dicom), case.image, case.case_id
        )
    except DicomError as error:
        error.case = case.case_id
        raise
    assert series.stack is not None
    grid = (
        untilted_grid(series.stack)
        if series.stack.irregularity
        else Grid(series.stack.shape, series.stack.affine)
    )
    return ImageHeader(grid, replace(recorded, **_uid_keys(series, salt=b"")), series)


def recorded_identity(study: Study, case: Case) -> ScanIdentity | None:
    """Return the identity of a volume that was made from the present files, else None."""
    try:
        record = read_json(record_of(study.nifti(case.case_id)))
        identity = identity_of_record(record)
        current = identity is not None and record.get("source") == _source(study, case)
    except CtboneError:
        return None
    return identity if current else None


def _uid_keys(series: Series, salt: bytes) -> dict[str, Any]:
    """Return the digests of a ``ScanIdentity`` that come from UIDs, by attribute."""
    assert series.stack is not None
    frames = series.stack.frames
    uids = {
        "instances": [frame.instance for frame in frames],
        "series": [frames[0].series_key],
        "examination": [frames[0].identity.study],
        "frame_of_reference": [frames[0].identity.frame_of_reference],
    }
    return {name: uid_keys(found, salt) for name, found in uids.items()}


def _is_nifti(path: Path) -> bool:
    return path.name.endswith((".nii", ".nii.gz"))


def _source(study: Study, case: Case) -> str:
    source = source_stat(study, case)
    if not source:
        raise DicomError("the image does not exist", case=case.case_id, file=case.image)
    return source


def _salt_digest(study: Study) -> str:
    """Return the hash of the study's salt: digests made with another salt cannot be compared."""
    return hashlib.sha256(study_salt(study)).hexdigest()


def _is_fresh(study: Study, case: Case, source: str) -> bool:
    """Whether the volume was made from these files, or from copies of them."""
    out = study.nifti(case.case_id)
    try:
        record = read_json(record_of(out))
        if record.get("volume") != file_hash(out) or record.get("salt") != _salt_digest(study):
            return False
        if record.get("source") == source:
            return True
        made_with = (record["ctbone"], record["settings"]["dicom"])
        now = (ctbone.__version__, study.settings.dicom.model_dump(mode="json"))
        return made_with == now and record.get("content") == source_content(case)
    except (CtboneError, OSError, KeyError, TypeError):
        return False


def _convert_nifti(case: Case, out: Path) -> tuple[dict[str, Any], ScanIdentity]:
    nifti = open_nifti(case.image, case.case_id)
    values = nifti.read()
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DicomError(
            "the volume contains NaN or infinite values",
            case=case.case_id,
            file=case.image,
            found=f"{int(np.count_nonzero(~np.isfinite(values)))} voxels NaN or infinite",
            remedy="export the volume again in HU",
        )
    hu, below = to_hu(values)
    write_nifti(out, hu, nifti.grid.affine)
    identity = identify(hu, nifti.grid.affine, uid_keys([], salt=b""))
    record = {
        "from": "nifti",
        "geometry": _geometry(nifti.grid),
        "air_voxels": below,
        "note": image_doubt(sample_of(values)),
    }
    return record, identity


def _record(volume: Volume, found: list[Series]) -> dict[str, Any]:
    return {
        "from": "dicom",
        "geometry": _geometry(volume.grid),
        "scan": asdict(volume.scan),
        "contrast": any(series.contrast for series in found if series.verdict == "taken"),
        "air_voxels": volume.air_voxels,
        "outside_voxels": volume.outside_voxels,
        "resampled": volume.irregularity or None,
        "note": next((one.note for one in found if one.verdict == "taken"), "") or None,
        "series": [
            {
                "number": series.number,
                "modality": series.modality,
                "files": len(series.files),
                "slices": series.slices,
                "verdict": series.verdict,
                "reason": series.reason,
                **{
                    name: text
                    for name, text in (("part", series.part), ("note", series.note))
                    if text
                },
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
