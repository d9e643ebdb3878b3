"""Masks in NRRD and MetaImage, among them the segmentations of 3D Slicer (``.seg.nrrd``)."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ctbone.errors import PreprocessError
from ctbone.grid import LPS_TO_RAS, Grid
from ctbone.masks.label_choice import Label, chosen_label, drawn_label

ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
_MOST_SEGMENTS = 1000
"""Segments of a file that are read at most."""


@dataclass(frozen=True)
class _SlicerSegment:
    """A segment that 3D Slicer describes: its voxels hold ``label.number`` in ``layer``."""

    label: Label
    layer: int


def read_itk_mask(path: Path, case: str, label: int | str | None) -> tuple[np.ndarray, Grid]:
    """Read one label of a labelmap, or one segment of a file of 3D Slicer.

    A number is always the value that the voxels hold (3D Slicer's LabelValue), whether the segments
    share one layer or lie in several.

    Returns
    -------
    tuple
        Booleans (x, y, z), and their grid.

    Raises
    ------
    PreprocessError
        The file cannot be read or is not a 3D volume, or it is not clear which label is the lesion.
    """
    import SimpleITK as sitk  # noqa: N813 (its usual name)

    try:
        image = sitk.ReadImage(str(path))
    except RuntimeError:
        raise PreprocessError(
            "the mask cannot be read", case=case, file=path, remedy="export it again"
        ) from None
    if image.GetDimension() != 3:
        raise PreprocessError(
            "the mask is not a 3D volume",
            case=case,
            file=path,
            found=f"{image.GetDimension()} axes",
            expected="3",
        )
    if min(image.GetSize()) < 1:
        raise PreprocessError(
            "the mask has no voxels",
            case=case,
            file=path,
            found=" × ".join(map(str, image.GetSize())),
            remedy="export it again",
        )
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    x, y, z = image.GetSize()
    values = sitk.GetArrayFromImage(image)
    layers = values.reshape(z, y, x, -1).transpose(2, 1, 0, 3)
    drawn = _segment(layers, label, _slicer_segments(image), path, case)
    return drawn, Grid((x, y, z), LPS_TO_RAS @ affine)


def _segment(
    layers: np.ndarray,
    label: int | str | None,
    segments: list[_SlicerSegment],
    path: Path,
    case: str,
) -> np.ndarray:
    """Choose one segment of a labelmap, or of the overlapping layers of 3D Slicer."""
    numbers = [(segment.layer, segment.label.number) for segment in segments]
    if len(set(numbers)) < len(numbers):
        raise PreprocessError(
            "the mask describes two segments with the same voxels",
            case=case,
            file=path,
            remedy="export the lesion's segment alone, as a labelmap",
        )
    if layers.shape[3] == 1:
        names = {segment.label.number: segment.label.name for segment in segments}
        return drawn_label(layers[..., 0], label, names, path, case)
    if not segments:
        raise PreprocessError(
            "the mask has several layers and does not name its segments",
            case=case,
            file=path,
            found=f"{layers.shape[3]} layers",
            remedy="export the lesion's segment alone, as a labelmap",
        )
    chosen = segments[chosen_label(label, [segment.label for segment in segments], path, case)]
    if not 0 <= chosen.layer < layers.shape[3]:
        raise PreprocessError("the mask names a layer that does not exist", case=case, file=path)
    drawn: np.ndarray = layers[..., chosen.layer] == chosen.label.number
    return drawn


def _slicer_segments(image: Any) -> list[_SlicerSegment]:
    """Return the segments that a .seg.nrrd of 3D Slicer describes."""
    found = []
    with suppress(RuntimeError, ValueError):  # raised by the first number without a segment
        for k in range(_MOST_SEGMENTS):
            name = image.GetMetaData(f"Segment{k}_Name")
            value = int(image.GetMetaData(f"Segment{k}_LabelValue"))
            key = f"Segment{k}_Layer"
            layer = int(image.GetMetaData(key)) if image.HasMetaDataKey(key) else 0
            found.append(_SlicerSegment(Label(value, name), layer))
    return found
