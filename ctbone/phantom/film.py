"""Files of a synthetic radiograph: DICOM, PNG or JPEG, and its region as a box or LabelMe file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SUFFIXES = (".dcm", ".dcm", ".png", ".png", ".jpg")
"""By kind: DICOM MONOCHROME2, mirrored DICOM MONOCHROME1, PNG of 8 and of 16 bits, JPEG."""


def write_film(
    folder: Path,
    name: str,
    grey: NDArray,
    *,
    kind: int,
    box: tuple[int, int, int, int],
    view: str,
) -> dict[str, Any]:
    """Write a radiograph below ``images/`` and return the cells of its row.

    Parameters
    ----------
    folder, name
        The cohort folder, and the file name without a suffix.
    grey
        (rows, columns), 0 to 1.
    kind
        0 to 4: see ``_SUFFIXES``. Odd kinds get a LabelMe file, the others the box columns.
    box
        The region, ``x0, y0, x1, y1`` in pixels of ``grey``.
    view
        ``frontal`` or ``lateral``, for the DICOM orientation.
    """
    path = folder / "images" / f"{name}{_SUFFIXES[kind]}"
    if kind == 1:  # stored mirrored, as some digitizers do; the tag says so
        grey, (x0, y0, x1, y1) = grey[:, ::-1], box
        box = (grey.shape[1] - x1, y0, grey.shape[1] - x0, y1)
    if kind < 2:
        _write_dicom(path, grey, inverted=kind == 1, view=view)
    else:
        _write_picture(path, grey, bits=16 if kind == 3 else 8)
    place: dict[str, Any] = {"image": f"images/{path.name}", "mask": ""}
    if kind % 2 == 0:
        return {**place, **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True))}
    annotation = folder / "annotations" / f"{name}.json"
    x0, y0, x1, y1 = box
    shape = {"label": "region", "points": [[x0, y0], [x1, y1]], "shape_type": "rectangle"}
    content = {
        "version": "5.0.1",
        "shapes": [shape],
        "imagePath": path.name,
        "imageHeight": grey.shape[0],
        "imageWidth": grey.shape[1],
    }
    annotation.write_text(json.dumps(content) + "\n", encoding="utf-8")
    empty = dict.fromkeys(("x0", "y0", "x1", "y1"), "")
    return {**place, "mask": f"annotations/{annotation.name}", **empty}


def _write_picture(path: Path, grey: NDArray, *, bits: int) -> None:
    from PIL import Image

    white, kind = (1 << bits) - 1, np.uint16 if bits == 16 else np.uint8
    options: dict[str, Any] = {"quality": 92} if path.suffix == ".jpg" else {}
    Image.fromarray(np.rint(grey * white).astype(kind)).save(path, **options)


def _write_dicom(path: Path, grey: NDArray, *, inverted: bool, view: str) -> None:
    """Write 12 bits of MONOCHROME2, or the inverted values as MONOCHROME1."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = ComputedRadiographyImageStorage
    # From the name, so that equal settings give equal files.
    uid = generate_uid(entropy_srcs=[path.stem])
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.SOPClassUID, dataset.SOPInstanceUID = ComputedRadiographyImageStorage, uid
    dataset.Modality, dataset.SamplesPerPixel = "CR", 1
    dataset.PhotometricInterpretation = "MONOCHROME1" if inverted else "MONOCHROME2"
    dataset.Rows, dataset.Columns = grey.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    across = {"frontal": "R" if inverted else "L", "lateral": "A" if inverted else "P"}[view]
    dataset.PatientOrientation = [across, "F"]
    dataset.WindowCenter, dataset.WindowWidth = 2048, 4096
    stored = np.rint((1 - grey if inverted else grey) * 4095)
    dataset.PixelData = stored.astype("<u2").tobytes()
    dataset.save_as(path, enforce_file_format=True)
