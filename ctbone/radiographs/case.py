"""Make the crop of one radiograph and write it, with the record of what it was made from."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from ctbone.cohort import Case
from ctbone.config import GREY_WHITE
from ctbone.custody import source_place
from ctbone.errors import CtboneError, RadiographError
from ctbone.input_kind import Dim
from ctbone.nifti import write_nifti
from ctbone.radiographs.crop import Crop, crop_radiograph
from ctbone.radiographs.read import Decode, Radiograph, file_of, read_radiograph, size_of
from ctbone.radiographs.region import Box, region_of
from ctbone.scan_identity import ScanIdentity
from ctbone.study import (
    Study,
    file_hash,
    provenance,
    read_json,
    read_table,
    record_of,
    write_json,
    write_table,
)

_DIM: Dim = "radiograph"
_FINGERPRINT = 64
"""Edge of the reduced image by which near duplicates are found, pixels."""
_BRIGHT_BORDER = 0.75
"""Grey of the border from which a picture may be inverted: air is dark, a collimator black."""


@dataclass(frozen=True)
class RadiographSummary:
    """What preprocessing found in one radiograph.

    Attributes
    ----------
    case_id
        The case.
    format
        ``DICOM CR``, ``PNG`` …
    width, height
        Of the radiograph, pixels.
    box
        Of the crop, ``x0 y0 x1 y1`` in pixels.
    region
        ``box``, or ``image`` where the radiograph was taken whole.
    scale
        Pixels of the crop per pixel of the radiograph, across.
    voxel_hash
        SHA-256 of the grey values of the whole radiograph.
    seconds
        Taken by this case.
    """

    case_id: str
    format: str
    width: int
    height: int
    box: str
    region: str
    scale: float
    voxel_hash: str
    seconds: float


def prepare_radiograph(study: Study, case: Case, decode: Decode | None = None) -> RadiographSummary:
    """Make the crop of a radiograph; nothing is done where it is up to date.

    Parameters
    ----------
    study, case
        One of the study's cases.
    decode
        Decodes compressed DICOM pixels: see ``read_radiograph``.

    Raises
    ------
    RadiographError
        The radiograph or its region is missing, unreadable or unfit.
    """
    known = up_to_date(study, case)
    if known is not None:
        return known
    began = time.perf_counter()
    image = read_radiograph(case, decode)
    region = _region(study, case, (image.grey.shape[1], image.grey.shape[0]))
    crop = crop_radiograph(image, region, study.settings.preprocess.radiographs)
    path = study.crop(case.case_id, _DIM)
    write_nifti(path, crop.grey[..., None], np.eye(4))
    levels = np.rint(image.grey * GREY_WHITE).astype("<i2")
    summary = RadiographSummary(
        case_id=case.case_id,
        format=image.format,
        width=image.grey.shape[1],
        height=image.grey.shape[0],
        box=" ".join(map(str, asdict(crop.box).values())),
        region="image" if region is None else "box",
        scale=round(crop.scale[0], 6),
        voxel_hash=hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).hexdigest(),
        seconds=round(time.perf_counter() - began, 3),
    )
    _record(study, case, summary=summary, crop=crop, image=image, region=region)
    return summary


def check_radiograph(study: Study, case: Case) -> str | None:
    """Check the header and the region of a radiograph without decoding it; return a note or None.

    Raises
    ------
    RadiographError
        As ``prepare_radiograph``, where the header shows it.
    """
    region = _region(study, case, size_of(case))
    size = study.settings.preprocess.radiographs.size
    if region is not None and max(region.width, region.height) < size / 8:
        return f"the region is {region.width} x {region.height} pixels, far below {size}"
    return None


def _region(study: Study, case: Case, size: tuple[int, int]) -> Box | None:
    wanted = study.settings.preprocess.radiographs.region
    if wanted == "image":
        return None
    region = region_of(case, size)
    if region is None and wanted == "box":
        raise RadiographError(
            "the radiograph has no region",
            case=case.case_id,
            file=case.mask,
            expected="x0, y0, x1, y1, or a LabelMe JSON or a mask in the mask column",
            remedy="draw one; or set preprocess.radiographs.region to image or box_or_image",
        )
    return region


def up_to_date(study: Study, case: Case) -> RadiographSummary | None:
    """Return the summary of an earlier run whose crop is up to date, None where there is none."""
    path = study.crop(case.case_id, _DIM)
    try:
        record = read_json(record_of(path))
        settings = study.settings.preprocess.radiographs.model_dump(mode="json")
        if record["settings"]["preprocess"]["radiographs"] != settings:
            return None
        if record["case"] != case_record(study, case) or record["inputs"] != inputs_of(case):
            return None
        if "affine" not in record:  # of an earlier version
            return None
        return RadiographSummary(**record["summary"]) if record["file"] == file_hash(path) else None
    except (CtboneError, OSError, KeyError, TypeError):
        return None


def case_record(study: Study, case: Case) -> dict[str, Any]:
    """Return the part of a crop's record that names the case and its region."""
    return {
        "case_id": case.case_id,
        "mask_place": None if case.mask is None else source_place(study, case.mask),
        "lesion": case.lesion,
        "box": None if case.box is None else list(case.box),
        "frame": case.frame,
    }


def inputs_of(case: Case) -> dict[str, str]:
    """Return the hashes of the files that a crop is made from."""
    hashes = {"image": file_hash(file_of(case))}
    return hashes if case.mask is None else {**hashes, "mask": file_hash(case.mask)}


def _record(
    study: Study,
    case: Case,
    *,
    summary: RadiographSummary,
    crop: Crop,
    image: Radiograph,
    region: Box | None,
) -> None:
    path = study.crop(case.case_id, _DIM)
    origin = provenance(study, "preprocess")
    write_json(
        record_of(path),
        {
            "summary": asdict(summary),
            "file": file_hash(path),
            "box": asdict(crop.box),
            "scale": list(crop.scale),
            "affine": crop.affine.tolist(),
            # The grid of maps: the pixels of the radiograph as it is stored.
            "scanner": {
                "shape": [summary.width, summary.height, 1],
                "affine": np.eye(4).tolist(),
            },
            "region": None if region is None else asdict(region),
            "orientation": image.orientation,
            "bright_border": _bright_border(image.grey),
            "case": case_record(study, case),
            "identity": _identity(image.grey, summary.voxel_hash).to_record(),
            **{**origin, "inputs": inputs_of(case)},
        },
    )


def _bright_border(grey: np.ndarray) -> bool:
    """Whether the border is bright and the middle darker: the picture may be inverted."""
    edge = max(1, min(grey.shape) // 50)
    border = np.concatenate(
        [grey[:edge].ravel(), grey[-edge:].ravel(), grey[:, :edge].ravel(), grey[:, -edge:].ravel()]
    )
    return bool(np.median(border) > _BRIGHT_BORDER > np.median(grey))


def _identity(grey: np.ndarray, digest: str) -> ScanIdentity:
    """Return what identifies a radiograph: the digest of its grey values, and a reduced image.

    The reduced image lies in the array of a volume's fingerprint, so that one search finds scans
    and radiographs that are nearly the same. Its two halves are the even and the odd rows.
    """
    from PIL import Image

    small = Image.fromarray(np.ascontiguousarray(grey)).resize(
        (_FINGERPRINT, _FINGERPRINT), Image.Resampling.BOX
    )
    rows = np.rint(np.asarray(small) * GREY_WHITE).astype("<i2")
    halves = np.stack([rows[0::2], rows[1::2]])
    return ScanIdentity(voxels=digest, fingerprint=halves.reshape(2, 8, 16, 16))


_COLUMNS = (
    "case_id",
    "status",
    "reason",
    "seconds",
    "format",
    "width",
    "height",
    "box",
    "region",
    "scale",
    "voxel_hash",
)


def write_summary(study: Study, outcomes: Mapping[str, RadiographSummary | CtboneError]) -> None:
    """Write ``preprocess.csv``: this run's outcomes, and earlier rows of cases that were not run.

    Parameters
    ----------
    study
        The study.
    outcomes
        For each case_id its summary, or the error that stopped it.
    """
    rows: dict[str, dict[str, object]] = {}
    if study.preprocess_csv.is_file():
        earlier = read_table(study.preprocess_csv, _COLUMNS, remedy="delete it")
        for row in earlier.to_dict("records"):
            rows[str(row["case_id"])] = {str(name): cell for name, cell in row.items()}
    for case_id, outcome in outcomes.items():
        if isinstance(outcome, CtboneError):
            reason = " | ".join(str(part) for part in (outcome.problem, outcome.found) if part)
            rows[case_id] = {"case_id": case_id, "status": "failed", "reason": reason}
        else:
            rows[case_id] = {**asdict(outcome), "status": "ok", "reason": ""}
    table = pd.DataFrame([rows[case_id] for case_id in sorted(rows)], columns=list(_COLUMNS))
    write_table(study.preprocess_csv, table)
