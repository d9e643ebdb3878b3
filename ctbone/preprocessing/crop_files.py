"""Write the crops of one case, with the records of what they were made from."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctbone.cohort import Case
from ctbone.config import PreprocessSettings
from ctbone.cropping import CaseCrops, View, make_crops
from ctbone.custody import source_place
from ctbone.errors import CtboneError, PreprocessError
from ctbone.grid import Grid
from ctbone.input_kind import CT_KINDS, Dim
from ctbone.nifti import write_nifti
from ctbone.preprocessing.mask_references import case_reference_note
from ctbone.preprocessing.summary import CropSummary
from ctbone.study import Study, file_hash, provenance, read_json, record_of, write_json

_THREADS = 4
"""Threads that hash and write files, which wait for the disk, while the crops are computed."""


Cropping = Callable[[Path, Case, PreprocessSettings], CaseCrops]
"""Volume, case and settings to the arrays of the crops: ``ctbone.cropping.make_crops``, or the
MONAI transforms, which make the same voxels."""


def preprocess_case(study: Study, case: Case, cropping: Cropping = make_crops) -> CropSummary:
    """Make the 3D crop and the three 2D images of a case and its mask from ``study.nifti``.

    Nothing is done where the crops are up to date. Volume and mask are hashed in threads while the
    crops are computed. A mask that was drawn in another frame of reference than the volume is
    refused (``reference_note``).

    Parameters
    ----------
    study
        The study.
    case
        One of its cases.
    cropping
        Makes the arrays. It is called if the crops are not up to date.

    Raises
    ------
    PreprocessError
        The volume or the mask is missing, unreadable or unfit; case, file and remedy are named.
    """
    started = time.perf_counter()
    inputs = _inputs(study, case)
    note = case_reference_note(study, case)
    with ThreadPoolExecutor(_THREADS) as aside:
        hashing = _hash_inputs(inputs, aside)
        known = _known(study, case)
        if known is not None and known.inputs == _results(hashing):
            return known.summary
        made = cropping(inputs["image"], case, study.settings.preprocess)
        _write(study, case, made, aside)
        hashes = _results(hashing)
        summary = CropSummary(
            case_id=case.case_id,
            lesion_ml=made.measures.volume_ml,
            longest_mm=made.measures.longest_mm,
            mean_hu=made.measures.mean_hu,
            spacing=made.scanner.spacing,
            scale_factor=made.cube.scale_factor,
            voxel_hash=hashlib.sha256(made.cube.hu.tobytes(order="F")).hexdigest(),
            seconds=time.perf_counter() - started,
        )
        _record(study, case, hashes, summary, made, note)
    return summary


def up_to_date(study: Study, case: Case) -> CropSummary | None:
    """Return the summary of an earlier run whose crops are up to date, None where there is none.

    Up to date: the records show that both crops were made from the same volume and mask with the
    same settings, and the files are as they were written.
    """
    known = _known(study, case)
    if known is None:
        return None
    with ThreadPoolExecutor(_THREADS) as aside:
        hashes = _results(_hash_inputs(_inputs(study, case), aside))
    return known.summary if known.inputs == hashes else None


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


def _hash_inputs(inputs: dict[str, Path], aside: Executor) -> dict[str, Future[str]]:
    return {
        "image": aside.submit(_volume_hash, inputs["image"]),
        "mask": aside.submit(file_hash, inputs["mask"]),
    }


def _results(hashing: dict[str, Future[str]]) -> dict[str, str]:
    return {name: hashed.result() for name, hashed in hashing.items()}


def _volume_hash(volume: Path) -> str:
    """Return the hash in the conversion's record if the volume is older than it, else hash it."""
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
    """An earlier run's summary, and the hashes of what its crops were made from."""

    summary: CropSummary
    inputs: dict[str, str]


def _known(study: Study, case: Case) -> _Known | None:
    """Return an earlier run's results if settings and written files are unchanged."""
    settings = _settings_of(study.settings.preprocess.model_dump(mode="json"))
    try:
        records = [read_json(record_of(study.crop(case.case_id, dim))) for dim in CT_KINDS]
        for dim, record in zip(CT_KINDS, records, strict=True):
            of = record["case"]
            made_with = _settings_of(record["settings"]["preprocess"])
            then = (made_with, of["lesion"], record["inputs"])
            if then != (settings, case.lesion, records[0]["inputs"]):
                return None
            if of.get("case_id") != case.case_id:
                return None
            for name, path in _files(study, case, dim).items():
                if record[name] != file_hash(path):
                    return None
        summary = records[0]["summary"]
        return _Known(
            CropSummary(**{**summary, "spacing": tuple(summary["spacing"])}), records[0]["inputs"]
        )
    except (CtboneError, OSError, KeyError, TypeError):
        return None


def _settings_of(preprocess: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that crops of CT depend on."""
    return {name: value for name, value in preprocess.items() if name != "radiographs"}


def _files(study: Study, case: Case, dim: Dim) -> dict[str, Path]:
    return {"file": study.crop(case.case_id, dim), "mask": study.crop_mask(case.case_id, dim)}


def _write(study: Study, case: Case, made: CaseCrops, aside: Executor) -> None:
    pixel = made.images.views[0].spacing_mm
    pixels = np.diag([pixel, pixel, 1, 1])
    files = (
        (study.crop(case.case_id, "3d"), made.cube.hu, made.cube.grid.affine),
        (study.crop_mask(case.case_id, "3d"), made.cube.mask, made.cube.grid.affine),
        (study.crop(case.case_id, "2d"), made.images.hu, pixels),
        (study.crop_mask(case.case_id, "2d"), made.images.mask, pixels),
    )
    for written in [aside.submit(write_nifti, *file) for file in files]:
        written.result()


def _record(
    study: Study,
    case: Case,
    hashes: dict[str, str],
    summary: CropSummary,
    made: CaseCrops,
    reference_note: str | None,
) -> None:
    common: dict[str, Any] = {
        "scanner": _grid_record(made.scanner),
        "case": {
            "case_id": case.case_id,
            "mask_place": None if case.mask is None else source_place(study, case.mask),
            "lesion": case.lesion,
            "taken": made.components.taken,
            "parts_ml": list(made.components.volumes_ml),
            "parts_reach_mm": made.components.reach_mm,
            "touches_border": made.touches_border,
            "own_grid": made.own_grid,
            "reference_note": reference_note,
        },
    }
    origin = {**provenance(study, "preprocess"), "inputs": hashes}
    special: dict[Dim, dict[str, Any]] = {
        "3d": {
            "affine": made.cube.grid.affine.tolist(),
            "scale_factor": made.cube.scale_factor,
            "lesion": asdict(made.measures),
            "summary": asdict(summary),
        },
        "2d": {"views": [_view_record(view) for view in made.images.views]},
    }
    for dim in CT_KINDS:
        files = {name: file_hash(path) for name, path in _files(study, case, dim).items()}
        write_json(
            record_of(study.crop(case.case_id, dim)), {**special[dim], **files, **common, **origin}
        )


def _grid_record(grid: Grid) -> dict[str, Any]:
    return {"shape": list(grid.shape), "affine": grid.affine.tolist()}


def _view_record(view: View) -> dict[str, Any]:
    return {
        "name": view.name,
        "axes": list(view.axes),
        "area_mm2": view.area_mm2,
        "spacing_mm": view.spacing_mm,
        "affine": view.grid.affine.tolist(),
    }
