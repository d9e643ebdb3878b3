"""One case: its volume and mask to its crops, with the records that say where they came from."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctbone.cohort import Case
from ctbone.errors import CtboneError, PreprocessError
from ctbone.grid import Grid
from ctbone.input_kind import INPUT_KINDS, Dim
from ctbone.nifti import write_nifti
from ctbone.preprocess.crops import CaseCrops, make_crops
from ctbone.preprocess.images2d import View
from ctbone.study import Study, file_hash, provenance, read_json, record_of, write_json


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
    with ThreadPoolExecutor(
        4
    ) as aside:  # hashing and writing wait for the disk, and meanwhile the rest is done
        hashing = {
            "image": aside.submit(_volume_hash, inputs["image"]),
            "mask": aside.submit(file_hash, inputs["mask"]),
        }
        known = _known(study, case)
        if known is not None and known.inputs == {
            name: hashed.result() for name, hashed in hashing.items()
        }:
            return known.summary
        made = make_crops(inputs["image"], case, study.settings.preprocess)
        _write(study, case, made, aside)
        hashes = {name: hashed.result() for name, hashed in hashing.items()}
    summary = CropSummary(
        case_id=case.case_id,
        lesion_ml=made.lesion.volume_ml,
        longest_mm=made.lesion.longest_mm,
        mean_hu=made.lesion.mean_hu,
        spacing=made.scanner.spacing,
        scale_factor=made.scale_factor,
        voxel_hash=hashlib.sha256(made.crop.tobytes(order="F")).hexdigest(),
        seconds=time.perf_counter() - started,
    )
    _record(study, case, hashes, summary, made)
    return summary


def _inputs(study: Study, case: Case) -> dict[str, Path]:
    image = study.nifti(case.case_id)
    if not image.is_file():
        raise PreprocessError(
            "the case has no volume yet",
            case=case.case_id,
            file=image,
            remedy="convert its DICOM series first",
        )
    if case.mask is None:
        raise PreprocessError(
            "the case has no mask", case=case.case_id, remedy="fill the mask column of cohort.csv"
        )
    if not case.mask.exists():
        raise PreprocessError("the mask does not exist", case=case.case_id, file=case.mask)
    if case.mask.is_dir():
        raise PreprocessError(
            "the mask is a folder", case=case.case_id, file=case.mask, remedy="name the file in it"
        )
    return {"image": image, "mask": case.mask}


def _volume_hash(volume: Path) -> str:
    """Take the hash from the record of the conversion, if the volume was not touched since that was written."""
    try:
        record, status = record_of(volume), volume.stat()
        if (
            os.name == "posix"
            and max(status.st_mtime_ns, status.st_ctime_ns) < record.stat().st_mtime_ns
        ):
            return str(read_json(record)["volume"])
    except (CtboneError, OSError, KeyError):
        pass
    return file_hash(volume)


@dataclass(frozen=True)
class _Known:
    """An earlier run's summary, and the hashes of what it was made from."""

    summary: CropSummary
    inputs: dict[str, str]


def _known(study: Study, case: Case) -> _Known | None:
    """Return what an earlier run left, if it was made with these settings and is still what was written then."""
    settings = study.settings.preprocess.model_dump(mode="json")
    try:
        records = [read_json(record_of(study.crop(case.case_id, dim))) for dim in INPUT_KINDS]
        for dim, record in zip(INPUT_KINDS, records, strict=True):
            then = (record["settings"]["preprocess"], record["case"]["lesion"], record["inputs"])
            if then != (settings, case.lesion, records[0]["inputs"]):
                return None
            for name, path in _files(study, case, dim).items():
                if record[name] != file_hash(path):
                    return None
        told = records[0]["summary"]
        return _Known(
            CropSummary(**{**told, "spacing": tuple(told["spacing"])}), records[0]["inputs"]
        )
    except (CtboneError, OSError, KeyError, TypeError):
        return None


def _files(study: Study, case: Case, dim: Dim) -> dict[str, Path]:
    return {"file": study.crop(case.case_id, dim), "mask": study.crop_mask(case.case_id, dim)}


def _write(study: Study, case: Case, made: CaseCrops, aside: Executor) -> None:
    pixels = np.diag([made.views[0].spacing_mm, made.views[0].spacing_mm, 1, 1])
    files = (
        (study.crop(case.case_id, "3d"), made.crop, made.cube.affine),
        (study.crop_mask(case.case_id, "3d"), made.crop_mask, made.cube.affine),
        (study.crop(case.case_id, "2d"), made.images, pixels),
        (study.crop_mask(case.case_id, "2d"), made.images_mask, pixels),
    )
    for written in [aside.submit(write_nifti, *file) for file in files]:
        written.result()


def _record(
    study: Study, case: Case, hashes: dict[str, str], summary: CropSummary, made: CaseCrops
) -> None:
    common: dict[str, Any] = {
        "scanner": _told(made.scanner),
        "case": {
            "lesion": case.lesion,
            "taken": made.components.taken,
            "parts_ml": list(made.components.volumes_ml),
            "parts_reach_mm": made.components.reach_mm,
            "touches_border": made.touches_border,
        },
    }
    origin = {**provenance(study, "preprocess"), "inputs": hashes}
    special: dict[Dim, dict[str, Any]] = {
        "3d": {
            "affine": made.cube.affine.tolist(),
            "scale_factor": made.scale_factor,
            "lesion": asdict(made.lesion),
            "summary": asdict(summary),
        },
        "2d": {"views": [_view(view) for view in made.views]},
    }
    for dim in INPUT_KINDS:
        files = {name: file_hash(path) for name, path in _files(study, case, dim).items()}
        write_json(
            record_of(study.crop(case.case_id, dim)), {**special[dim], **files, **common, **origin}
        )


def _told(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _view(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "axes": list(view.axes),
        "area_mm2": view.area_mm2,
        "spacing_mm": view.spacing_mm,
        "affine": view.grid.affine.tolist(),
    }
