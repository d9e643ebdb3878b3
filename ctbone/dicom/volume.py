"""One series to one volume in HU with its affine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from ctbone.dicom.geometry import Stack
from ctbone.dicom.headers import Frame
from ctbone.dicom.irregular import resample
from ctbone.dicom.pixels import Slice, read_plain_slice, read_slices
from ctbone.dicom.series import Series
from ctbone.errors import DicomError
from ctbone.grid import Grid
from ctbone.quiet_pydicom import quiet_pydicom

_LARGEST = 2**31
_AT_ONCE = 32


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
        raise DicomError(
            f"{series.name} is too large", file=series.folder, found=f"{x} × {y} × {z} voxels"
        )
    data, air = _read(stack, series)
    first = stack.frames[0]
    facts = ScanFacts(first.kernel, first.kvp, first.mas, first.thickness, first.maker, first.model)
    if stack.irregular:
        data, affine = resample(data, stack)
        return Volume(data, affine, facts, air, stack.irregular)
    return Volume(data, stack.affine, facts, air)


def _read(stack: Stack, series: Series) -> tuple[np.ndarray, int]:
    """Decode file by file, several at once; each frame goes to its place along the normal."""
    x, y, z = stack.shape
    # Slices are the slowest axis in memory, so that each is written in one piece and NIfTI takes them as they are.
    try:
        data = np.empty((z, y, x), np.int16)
    except MemoryError:
        raise DicomError(
            f"{series.name} does not fit into memory", file=series.folder, found=f"{x} × {y} × {z}"
        ) from None
    air = 0
    places = sorted(enumerate(stack.frames), key=lambda item: (str(item[1].path), item[1].index))
    files = [list(members) for _, members in groupby(places, key=lambda item: item[1].path)]
    with quiet_pydicom(), ThreadPoolExecutor(_threads()) as pool:
        # Few are under way at a time: what is decoded and not yet in its place is memory, too.
        for start in range(0, len(files), _AT_ONCE):
            some = files[start : start + _AT_ONCE]
            decoded = pool.map(partial(_decode, data=data, series=series), some)
            for members, slices in zip(some, list(decoded), strict=True):
                for (place, _), one in zip(members, slices, strict=True):
                    air += one.air
                    if one.hu.dtype == np.float32 and data.dtype != np.float32:
                        data = data.astype(np.float32)
                    if not np.shares_memory(one.hu, data):
                        data[place] = one.hu
    return data.transpose(2, 1, 0), air


def _threads() -> int:
    """Return how many files are read at once: fewer in a worker, which has neighbours that read, too."""
    return min(4, os.cpu_count() or 1) if multiprocessing.parent_process() is None else 2


def _decode(members: list[tuple[int, Frame]], data: np.ndarray, series: Series) -> Iterable[Slice]:
    """Read one file; an ordinary slice goes straight to its place in ``data``, the frames of an enhanced file wait."""
    place, frame = members[0]
    slices = _named(members, series)
    if len(members) > 1:
        return slices
    try:
        air = read_plain_slice(frame, data[place]) if data.dtype == np.int16 else None
    except OSError as error:
        raise DicomError(
            f"{series.name}: a file cannot be read", file=series.folder, found=error.strerror
        ) from None
    return list(slices) if air is None else [Slice(data[place], air)]


def _named(members: list[tuple[int, Frame]], series: Series) -> Iterator[Slice]:
    """Decode one file; an error says which series and slice it was, never which file."""
    try:
        yield from read_slices([frame for _, frame in members])
    except DicomError as error:
        error.file = str(series.folder)
        error.problem = (
            f"{series.name}: {error.problem}, slice {members[0][0] + 1} along the normal"
        )
        raise
