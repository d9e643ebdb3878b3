"""One series to one volume in HU with its affine."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ctbone.dicom.errors import DicomError
from ctbone.dicom.geometry import Stack
from ctbone.dicom.irregular import resample
from ctbone.dicom.pixels import Slice, read_slices
from ctbone.dicom.series import Series
from ctbone.nifti import Grid

_LARGEST = 2**31


@dataclass(frozen=True)
class ScanFacts:
    """All that is kept of the headers: an allow-list, free of anything about the patient.

    Attributes
    ----------
    kernel, manufacturer, model
        Empty where the header says nothing, or something that is no such term.
    kvp, mas, thickness_mm
        None where the header says nothing.
    """

    kernel: str
    kvp: float | None
    mas: float | None
    thickness_mm: float | None
    manufacturer: str
    model: str


@dataclass(frozen=True)
class Volume:
    """A CT volume.

    Attributes
    ----------
    data
        (i, j, k) = (column, row, slice), HU; int16, or float32 where int16 would lose something.
    affine
        (4, 4), voxel index to RAS mm.
    meta
        What is kept of the headers.
    air_voxels
        How many voxels were padding or below −1024 HU; they hold −1024 now.
    resampled
        Empty, or what was irregular about the slices before they were brought onto a regular grid.
    """

    data: np.ndarray
    affine: np.ndarray
    meta: ScanFacts
    air_voxels: int = 0
    resampled: str = ""

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        x, y, z = self.data.shape
        return Grid((x, y, z), self.affine)


def read_series(series: Series) -> Volume:
    """Read a series as a volume in HU.

    The affine comes from ImageOrientationPatient and the positions; slices are sorted along their normal, so that
    the axes are right-handed. Rescale slope and intercept are applied slice by slice. A tilted or unevenly spaced
    series is refused, or resampled to a regular, untilted grid, as the settings say that listed it.

    Raises
    ------
    DicomError
        The series is no volume (the positions are named), or a file of it cannot be decoded.
    """
    stack = series.stack
    if stack is None or series.verdict == "refused":
        raise DicomError(f"{series.name} is refused: {series.reason}", file=series.folder)
    if stack.irregular and series.irregular == "refuse":
        raise DicomError(
            f"{series.name} is irregular: {stack.irregular}",
            file=series.folder,
            remedy="set dicom.irregular to resample, or export a regular series",
        )
    x, y, z = stack.shape
    if x * y * z > _LARGEST:
        raise DicomError(f"{series.name} is too large", file=series.folder, found=f"{x} × {y} × {z} voxels")
    data, air = _read(stack, series)
    first = stack.frames[0]
    facts = ScanFacts(first.kernel, first.kvp, first.mas, first.thickness, first.maker, first.model)
    if stack.irregular:
        data, affine = resample(data, stack)
        return Volume(data, affine, facts, air, stack.irregular)
    return Volume(data, stack.affine, facts, air)


def _read(stack: Stack, series: Series) -> tuple[np.ndarray, int]:
    """Decode file by file; each frame goes to its place along the normal."""
    x, y, z = stack.shape
    # Slices are the slowest axis in memory, so that each is written in one piece and NIfTI takes them as they are.
    data = np.empty((z, y, x), np.int16)
    air = 0
    places = sorted(enumerate(stack.frames), key=lambda item: (str(item[1].path), item[1].index))
    for _, group in groupby(places, key=lambda item: item[1].path):
        members = list(group)
        try:
            slices: list[Slice] = read_slices([frame for _, frame in members])
        except DicomError as error:
            error.file = str(series.folder)
            error.problem = f"{series.name}: {error.problem}, slice {members[0][0] + 1} along the normal"
            raise
        for (place, _), one in zip(members, slices, strict=True):
            if one.hu.dtype == np.float32 and data.dtype != np.float32:
                data = data.astype(np.float32)
            data[place] = one.hu
            air += one.air
    return data.transpose(2, 1, 0), air
