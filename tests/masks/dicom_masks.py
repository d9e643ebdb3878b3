"""SEG and RTSTRUCT files, every property of which the test chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.pixels import pack_bits
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from ctbone.grid import Grid

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def write_seg(
    path: Path,
    segments: dict[int, tuple[str, np.ndarray]],
    grid: Grid,
    *,
    kind: str = "BINARY",
    empty_frames: bool = False,
    between: float | None = None,
    order: np.random.Generator | None = None,
) -> Path:
    """Write segments, (x, y, z) booleans (0–1 for FRACTIONAL), one frame per drawn slice.

    A LABELMAP has one frame a slice for all segments, which must not overlap.
    """
    affine = LPS @ grid.affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    dataset = _dataset(SEG)
    dataset.SegmentationType = kind
    dataset.SegmentSequence = [
        _item(SegmentNumber=n, SegmentLabel=label) for n, (label, _) in segments.items()
    ]
    measures = _item(
        PixelSpacing=[_ds(spacing[1]), _ds(spacing[0])], SliceThickness=_ds(spacing[2])
    )
    if between:
        measures.SpacingBetweenSlices = _ds(between)
    directions = (affine[:3, :3] / spacing).T[:2].ravel()
    shared = Dataset()
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [_item(ImageOrientationPatient=[_ds(x) for x in directions])]
    dataset.SharedFunctionalGroupsSequence = [shared]
    planes = [(n, k) for n, (_, drawn) in segments.items() for k in range(grid.shape[2])
              if empty_frames or drawn[:, :, k].any()]  # fmt: skip
    if kind == "LABELMAP":
        planes = [(0, k) for k in sorted({k for _, k in planes})]
    if order is not None:
        order.shuffle(planes)
    dataset.PerFrameFunctionalGroupsSequence = []
    for number, k in planes:
        own = _item(
            PlanePositionSequence=[
                _item(ImagePositionPatient=[_ds(x) for x in (affine @ [0, 0, k, 1])[:3]])
            ]
        )
        if kind != "LABELMAP":
            own.SegmentIdentificationSequence = [_item(ReferencedSegmentNumber=number)]
        dataset.PerFrameFunctionalGroupsSequence.append(own)
    if kind == "LABELMAP":
        labels = sum(n * drawn.astype(np.uint8) for n, (_, drawn) in segments.items())
        frames = np.array([labels[:, :, k].T for _, k in planes])
    else:
        frames = np.array([segments[number][1][:, :, k].T for number, k in planes])
    _pixels(dataset, frames, kind)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_rtstruct(
    path: Path, structures: dict[int, tuple[str, list[np.ndarray]]], kind: str = "CLOSED_PLANAR"
) -> Path:
    """Write contours, each (n, 3) in RAS mm."""
    dataset = _dataset(RTSTRUCT)
    dataset.StructureSetROISequence = [
        _item(ROINumber=n, ROIName=name) for n, (name, _) in structures.items()
    ]
    dataset.ROIContourSequence = []
    for number, (_, contours) in structures.items():
        roi = _item(ReferencedROINumber=number)
        roi.ContourSequence = [
            _item(
                ContourGeometricType=kind,
                NumberOfContourPoints=len(points),
                ContourData=[_ds(x) for x in (points * [-1, -1, 1]).ravel()],
            )
            for points in contours
        ]
        dataset.ROIContourSequence.append(roi)
    dataset.save_as(path, enforce_file_format=True)
    return path


def _pixels(dataset: Dataset, frames: np.ndarray, kind: str) -> None:
    dataset.NumberOfFrames, dataset.Rows, dataset.Columns = frames.shape
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    bits = 1 if kind == "BINARY" else 8
    dataset.BitsAllocated = dataset.BitsStored = bits
    dataset.HighBit = bits - 1
    if kind == "FRACTIONAL":
        dataset.MaximumFractionalValue, dataset.SegmentationFractionalType = 200, "PROBABILITY"
        dataset.PixelData = np.rint(frames * 200).astype(np.uint8).tobytes()
    elif kind == "LABELMAP":
        dataset.PixelData = frames.astype(np.uint8).tobytes()
    else:
        dataset.PixelData = pack_bits(frames.astype(np.uint8).ravel(), pad=True)


def _dataset(kind: str) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = kind
    meta.MediaStorageSOPInstanceUID = generate_uid()
    dataset = FileDataset("", {}, b"\0" * 128, meta)
    dataset.SOPClassUID, dataset.SOPInstanceUID = kind, meta.MediaStorageSOPInstanceUID
    dataset.PatientName = dataset.PatientID = "XPLANTEDX"
    return dataset


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _ds(number: float) -> str:
    return pydicom.valuerep.format_number_as_ds(float(number))
