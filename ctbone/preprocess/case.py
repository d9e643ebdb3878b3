"""One case: its volume and mask to its crops, with the records that say where they came from."""

from __future__ import annotations

import hashlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctbone.cohort import Case
from ctbone.errors import CtboneError
from ctbone.nifti import AIR, Grid, NiftiError, NiftiFile, write_nifti
from ctbone.preprocess.crop3d import cube
from ctbone.preprocess.errors import PreprocessError, of_nifti, open_volume
from ctbone.preprocess.images2d import View, views
from ctbone.preprocess.lesion import Lesion, measure
from ctbone.preprocess.mask import check_overlap, read_mask
from ctbone.preprocess.mask_crop import mask_on
from ctbone.preprocess.resample import Slab, read_slab, sample
from ctbone.study import Dim, Study, file_hash, provenance, read_json, record_of, write_json

_DIMS: tuple[Dim, Dim] = ("3d", "2d")


@dataclass(frozen=True)
class CropSummary:
    """What preprocessing found in one case.

    Attributes
    ----------
    lesion_ml, longest_mm, mean_hu
        The lesion's volume, its longest diameter in any direction, its mean HU.
    spacing
        Of the scanner's voxels, in mm.
    scale_factor
        1 where the 3D crop has the spacing that was asked for; less where a large lesion was shrunk to fit.
    voxel_hash
        SHA-256 of the 3D crop's voxels: the same in two patients is an error of the cohort.
    seconds
        Taken by this case, when its crops were made.
    """

    case_id: str
    lesion_ml: float
    longest_mm: float
    mean_hu: float
    spacing: tuple[float, float, float]
    scale_factor: float
    voxel_hash: str
    seconds: float


def preprocess_case(study: Study, case: Case) -> CropSummary:
    """Make the 3D crop and the three 2D images of a case from ``study.nifti`` and its mask, and the mask's own.

    Nothing is done where the records show that both were made from the same volume and mask with the same settings,
    and the crops are what was written then.

    Raises
    ------
    PreprocessError
        The volume or the mask is missing, unreadable or unfit; case, file and remedy are named.
    """
    started = time.perf_counter()
    inputs = _inputs(study, case)
    known = _known(study, case, inputs)
    if known is not None:
        return known
    image = open_volume(inputs["image"], case.case_id, "the image")
    mask = read_mask(case, study.settings.preprocess.mask_label, image.grid)
    check_overlap(mask, image.grid, case)
    settings = study.settings.preprocess
    target, scale = cube(mask, settings.crop_3d)
    planes = views(mask, settings.images_2d)
    slab = _read(image, [target, mask.grid, *(plane.grid for plane in planes)], study)
    lesion = measure(mask, slab)
    crop = _int16(sample(slab, target, settings.crop_3d.interpolation))
    images = np.concatenate([_int16(sample(slab, plane.grid)) for plane in planes], axis=2)
    pixels = np.diag([planes[0].spacing_mm, planes[0].spacing_mm, 1, 1])
    write_nifti(study.crop(case.case_id, "3d"), crop, target.affine)
    write_nifti(study.crop(case.case_id, "2d"), images, pixels)
    write_nifti(study.crop_mask(case.case_id, "3d"), mask_on(mask, target), target.affine)
    drawn = np.concatenate([mask_on(mask, plane.grid) for plane in planes], axis=2)
    write_nifti(study.crop_mask(case.case_id, "2d"), drawn, pixels)
    summary = CropSummary(
        case_id=case.case_id,
        lesion_ml=lesion.volume_ml,
        longest_mm=lesion.longest_mm,
        mean_hu=lesion.mean_hu,
        spacing=image.grid.spacing,
        scale_factor=scale,
        voxel_hash=hashlib.sha256(crop.tobytes(order="F")).hexdigest(),
        seconds=time.perf_counter() - started,
    )
    _record(study, case, inputs, summary, lesion, target, planes)
    return summary


def _inputs(study: Study, case: Case) -> dict[str, Path]:
    image = study.nifti(case.case_id)
    if not image.is_file():
        raise PreprocessError(
            "the case has no volume yet", case=case.case_id, file=image, remedy="convert its DICOM series first"
        )
    if case.mask is None:
        raise PreprocessError("the case has no mask", case=case.case_id, remedy="fill the mask column of cohort.csv")
    if not case.mask.exists():
        raise PreprocessError("the mask does not exist", case=case.case_id, file=case.mask)
    return {"image": image, "mask": case.mask}


def _known(study: Study, case: Case, inputs: dict[str, Path]) -> CropSummary | None:
    """Return the summary of an earlier run if its crops are still right."""
    settings = study.settings.preprocess.model_dump(mode="json")
    try:
        records = [read_json(record_of(study.crop(case.case_id, dim))) for dim in _DIMS]
        hashes = {name: file_hash(path) for name, path in inputs.items()}
        for dim, record in zip(_DIMS, records, strict=True):
            if record["inputs"] != hashes or record["settings"]["preprocess"] != settings:
                return None
            if record["file"] != file_hash(study.crop(case.case_id, dim)):
                return None
            if record["mask"] != file_hash(study.crop_mask(case.case_id, dim)):
                return None
        return CropSummary(**{**records[0]["summary"], "spacing": tuple(records[0]["summary"]["spacing"])})
    except (CtboneError, OSError, KeyError, TypeError):
        return None


def _read(image: NiftiFile, targets: list[Grid], study: Study) -> Slab:
    try:
        slab = read_slab(image, targets, study.settings.preprocess.crop_3d.interpolation)
    except NiftiError as error:
        raise of_nifti(error, "the image") from None
    if slab.voxels.dtype.kind == "f" and not np.isfinite(slab.voxels).all():
        raise PreprocessError(
            "the image holds values that are no numbers", case=image.case, file=image.path, remedy="export it again"
        )
    return slab


def _int16(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), AIR, np.iinfo(np.int16).max).astype(np.int16)


def _record(
    study: Study,
    case: Case,
    inputs: dict[str, Path],
    summary: CropSummary,
    lesion: Lesion,
    target: Grid,
    planes: tuple[View, ...],
) -> None:
    origin = provenance(study, "preprocess", inputs)
    crop, images = study.crop(case.case_id, "3d"), study.crop(case.case_id, "2d")
    content: dict[str, Any] = {
        "affine": target.affine.tolist(),
        "scale_factor": summary.scale_factor,
        "lesion": asdict(lesion),
        "summary": asdict(summary),
        "file": file_hash(crop),
        "mask": file_hash(study.crop_mask(case.case_id, "3d")),
    }
    write_json(record_of(crop), {**content, **origin})
    told = [
        {
            "name": plane.name,
            "axes": list(plane.axes),
            "area_mm2": plane.area_mm2,
            "spacing_mm": plane.spacing_mm,
            "affine": plane.grid.affine.tolist(),
        }
        for plane in planes
    ]
    files = {"file": file_hash(images), "mask": file_hash(study.crop_mask(case.case_id, "2d"))}
    write_json(record_of(images), {"views": told, **files, **origin})
