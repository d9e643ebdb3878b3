"""DICOM masks: segmentations (SEG) on their own grid, contours (RTSTRUCT) on the image's slices."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.pixels import iter_pixels

from ctbone.errors import PreprocessError
from ctbone.grid import LPS_TO_RAS, Grid
from ctbone.masks.label_choice import Label, chosen_label
from ctbone.masks.mask_contours import ContourError, FilledContours, fill_contours
from ctbone.quiet_pydicom import quiet_pydicom

_SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
_XOR = "CLOSEDPLANAR_XOR"
_CLOSED = ("CLOSED_PLANAR", _XOR)
_BACKGROUND_CODE = "125040"
"""Code of the background of a segmentation in DICOM's own coding scheme (PS3.16)."""
_MOST_VOXELS = 2**31
_EXPORT = "export the segmentation again, or as NIfTI or NRRD"


class _FaultError(Exception):
    """What is wrong with the file, in words of ours."""


def is_dicom(path: Path) -> bool:
    """Tell whether a file begins as DICOM files do."""
    with path.open("rb") as file:
        return file.read(132)[128:] == b"DICM"


def read_dicom_mask(
    path: Path, case: str, label: int | str | None, image: Grid | None
) -> tuple[np.ndarray, Grid, tuple[str, ...]]:
    """Read one segment of a SEG, or one structure of an RTSTRUCT.

    A segmentation has the geometry of its own frames; a fractional one is inside from one half.
    Contours are filled on the slices of the image that they were drawn on (``fill_contours``).

    Parameters
    ----------
    path, case
        The file, and the case for messages.
    label
        Number or name of the segment or structure; None where there is only one.
    image
        The image's grid; contours have no grid of their own.

    Returns
    -------
    tuple
        Booleans (x, y, z), their grid, and notes on contours that were dropped or united.

    Raises
    ------
    PreprocessError
        The file is damaged or of another kind, the label is missing, or the geometry is not a
        regular grid.
    """
    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(path)
            kind = str(dataset.get("SOPClassUID"))
            if kind in _SEG:
                return *_segment(dataset, path, case, label), ()
            if kind == _RTSTRUCT:
                if image is None:
                    raise _FaultError("contours need the image that they were drawn on")
                filled = _structure(dataset, path, case, label, image)
                return filled.voxels, filled.grid, filled.notes
            raise _FaultError(
                "the DICOM file is neither a segmentation (SEG) nor a structure set (RTSTRUCT)"
            )
    except PreprocessError:
        raise
    except (_FaultError, ContourError) as fault:
        raise PreprocessError(f"the mask: {fault}", case=case, file=path, remedy=_EXPORT) from None
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # a damaged file raises anything, and quotes itself
        raise PreprocessError(
            "the mask is damaged DICOM", case=case, file=path, remedy=_EXPORT
        ) from None


def _segment(
    dataset: pydicom.Dataset, path: Path, case: str, label: int | str | None
) -> tuple[np.ndarray, Grid]:
    kind = str(dataset.get("SegmentationType", "BINARY"))
    background = _background(dataset) if kind == "LABELMAP" else None
    labels = [
        Label(int(item.SegmentNumber), str(item.get("SegmentLabel") or ""))
        for item in dataset.SegmentSequence
        if int(item.SegmentNumber) != background and not _is_background(item)
    ]
    number = _only(labels, chosen_label(label, labels, path, case))
    shared, groups = (
        _first(dataset, "SharedFunctionalGroupsSequence"),
        dataset.PerFrameFunctionalGroupsSequence,
    )
    frames = [
        k for k, own in enumerate(groups) if kind == "LABELMAP" or _number_of(own, shared) == number
    ]
    if not frames:
        raise PreprocessError("the mask is empty", case=case, file=path, remedy="draw the lesion")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    axes, places = _slices(groups, shared, frames)
    depth = max(places) + 1
    if len(set(places)) < len(places):
        raise _FaultError("two frames of one segment lie at one place")
    if rows * columns * depth > _MOST_VOXELS:
        raise _FaultError(f"it claims {columns} × {rows} × {depth} voxels")
    least = 0.5 * float(dataset.get("MaximumFractionalValue", 255)) if kind == "FRACTIONAL" else 1
    voxels = np.zeros((depth, rows, columns), bool)
    for stored, place in zip(_stored(dataset, frames, rows, columns), places, strict=True):
        voxels[place] = stored == number if kind == "LABELMAP" else stored >= least
    return voxels.transpose(2, 1, 0), Grid((columns, rows, depth), LPS_TO_RAS @ axes)


def _stored(
    dataset: pydicom.Dataset, frames: list[int], rows: int, columns: int
) -> Iterator[np.ndarray]:
    """Yield some frames one by one: all frames of a hundred segments would take gigabytes."""
    if int(dataset.BitsAllocated) != 1 or dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        yield from iter_pixels(
            dataset, indices=frames if int(dataset.get("NumberOfFrames") or 1) > 1 else None
        )
        return
    # Bits continue from frame to frame, the lowest of a byte first; pydicom's iterator drops some
    # where a frame does not begin at a byte.
    size = rows * columns
    for frame in frames:
        first, last = frame * size // 8, -(-(frame + 1) * size // 8)
        bits = np.unpackbits(
            np.frombuffer(dataset.PixelData[first:last], np.uint8), bitorder="little"
        )
        yield bits[frame * size - 8 * first :][:size].reshape(rows, columns)


def _slices(groups: Any, shared: Any, frames: list[int]) -> tuple[np.ndarray, list[int]]:
    """Return the affine (LPS) of the grid of some frames, and the slice of each of them on it."""
    orientations = np.array(
        [
            _numbers(own, shared, "PlaneOrientationSequence", "ImageOrientationPatient", 6)
            for own in groups
        ]
    )
    every = np.array(
        [
            _numbers(own, shared, "PlanePositionSequence", "ImagePositionPatient", 3)
            for own in groups
        ]
    )
    measures = [_numbers(own, shared, "PixelMeasuresSequence", "PixelSpacing", 2) for own in groups]
    if np.ptp(orientations, axis=0).max() > 1e-3 or np.ptp(measures, axis=0).max() > 1e-4:
        raise _FaultError("its frames differ in orientation or pixel spacing")
    row, column = (one / np.linalg.norm(one) for one in orientations[0].reshape(2, 3))
    normal = np.cross(row, column)
    if abs(row @ column) > 1e-3 or not min(measures[0]) > 0:
        raise _FaultError("its frames have no proper geometry")
    step = _step(np.unique((every @ normal).round(3)), groups, shared, frames)
    positions = every[frames]
    along = positions @ normal
    first = positions[along.argmin()]
    exact = (along - along.min()) / step
    places = np.rint(exact).astype(int)
    sideways = np.linalg.norm(positions - first - np.outer(along - along.min(), normal), axis=1)
    if np.abs(exact - places).max() > 0.1 or sideways.max() > max(0.1 * min(measures[0]), 0.02):
        raise _FaultError("its frames do not lie on a regular grid")
    affine = np.eye(4)
    affine[:3, :3] = np.stack(
        [row * measures[0][1], column * measures[0][0], normal * step], axis=1
    )
    affine[:3, 3] = first
    return affine, [int(place) for place in places]


def _step(along: np.ndarray, groups: Any, shared: Any, frames: list[int]) -> float:
    """Return the distance between slices: from the frames of all segments, else the header's."""
    gaps = np.diff(along)
    gaps = gaps[gaps > 0.01]
    told = [
        _number(groups[frames[0]], shared, word)
        for word in ("SpacingBetweenSlices", "SliceThickness")
    ]
    spacing = next((abs(value) for value in told if value), None)
    if not len(gaps):
        if spacing is None:
            raise _FaultError("it is a single slice without a thickness")
        return spacing
    smallest = float(gaps.min())
    between = abs(told[0]) if told[0] else None
    # If only every second slice is drawn on, the header's spacing is less than the smallest gap.
    if (
        between
        and between < 0.9 * smallest
        and np.abs(gaps / between - np.rint(gaps / between)).max() < 0.1
    ):
        return between
    return float(along[-1] - along[0]) / round(float(along[-1] - along[0]) / smallest)


def _structure(
    dataset: pydicom.Dataset, path: Path, case: str, label: int | str | None, image: Grid
) -> FilledContours:
    drawn = {
        int(item.ReferencedROINumber): item
        for item in dataset.ROIContourSequence
        if item.get("ContourSequence")
    }
    labels = [
        Label(int(item.ROINumber), str(item.get("ROIName") or ""))
        for item in dataset.StructureSetROISequence
    ]
    number = _only(labels, chosen_label(label, labels, path, case))
    if number not in drawn:
        raise PreprocessError(
            f"structure {number} of the mask is empty",
            case=case,
            file=path,
            remedy="draw the lesion, or correct preprocess.mask_label",
        )
    contours, kinds = [], set()
    for contour in drawn[number].ContourSequence:
        kind = str(contour.get("ContourGeometricType", "")).strip().upper()
        if kind not in _CLOSED:
            continue  # points and open lines enclose nothing
        points = np.array(contour.ContourData, dtype=float).reshape(-1, 3)
        contours.append(points * LPS_TO_RAS.diagonal()[:3])
        kinds.add(kind)
    if not contours:
        raise _FaultError("the structure has no closed contour")
    return fill_contours(contours, image, exclusive=_XOR in kinds)


def _only(labels: Sequence[Label], index: int) -> int:
    """Return the number of a label; two labels cannot share one, as it names frames or contours."""
    number = labels[index].number
    if sum(label.number == number for label in labels) > 1:
        raise _FaultError(f"it describes label {number} twice")
    return number


def _background(dataset: pydicom.Dataset) -> int:
    """Return the value of a labelmap's background: PixelPaddingValue (PS3.3 C.8.20.2), else 0."""
    padding = dataset.get("PixelPaddingValue")
    return 0 if padding is None else int(padding)


def _is_background(segment: Any) -> bool:
    """Whether a segment is coded as the background, as labelmaps of some programs describe it."""
    code = _first(segment, "SegmentedPropertyTypeCodeSequence")
    if code is None or code.get("CodingSchemeDesignator") != "DCM":
        return False
    return str(code.get("CodeValue", "")) == _BACKGROUND_CODE


def _number_of(own: Any, shared: Any) -> int:
    for group in (own, shared):
        item = _first(group, "SegmentIdentificationSequence")
        if item is not None:
            return int(item.ReferencedSegmentNumber)
    raise _FaultError("a frame does not say which segment it belongs to")


def _numbers(own: Any, shared: Any, sequence: str, keyword: str, count: int) -> list[float]:
    for group in (own, shared):
        item = _first(group, sequence)
        if item is not None and keyword in item:
            numbers = [float(value) for value in item.get(keyword)]
            if len(numbers) == count and np.isfinite(numbers).all():
                return numbers
    raise _FaultError(f"a frame has no {keyword}")


def _number(own: Any, shared: Any, keyword: str) -> float | None:
    for group in (own, shared):
        item = _first(group, "PixelMeasuresSequence")
        if item is not None and item.get(keyword) is not None:
            return float(item.get(keyword))
    return None


def _first(group: Any, sequence: str) -> Any:
    items = group.get(sequence) if group is not None else None
    return items[0] if items else None
