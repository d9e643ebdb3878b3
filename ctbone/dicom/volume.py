"""Read one series as a volume in HU with its affine."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import groupby

import numpy as np

from ctbone.dicom.geometry import SliceStack
from ctbone.dicom.headers import Frame
from ctbone.dicom.irregular import resample_irregular
from ctbone.dicom.pixels import Slice, read_slices, read_uncompressed_slice
from ctbone.dicom.series import Series
from ctbone.errors import DicomError
from ctbone.grid import Grid
from ctbone.quiet_pydicom import quiet_pydicom

# Most voxels of a volume.
_LARGEST = 2**31
# Files that are decoded before their slices are copied; limits the memory.
_FILES_PER_BATCH = 32


@dataclass(frozen=True)
class ScanParameters:
    """Header values that are kept: an allow-list without patient data.

    Attributes
    ----------
    kernel, manufacturer, model
        Empty if missing or not a known technical term.
    kvp, mas, thickness_mm
        Tube voltage (kV), tube current–time product (mAs), slice thickness (mm); None if missing.
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
        (column, row, slice), HU; int16 if that is exact, else float32.
    affine
        (4, 4), voxel index to RAS mm.
    scan
        Scan parameters from the headers.
    air_voxels
        Number of voxels that were padding or below −1024 HU, or that lie outside the slices of an
        irregular series; they are set to −1024.
    outside_voxels
        Those that lie outside the slices of an irregular series.
    irregularity
        Empty, or the irregularity of the slices that were resampled to this grid.
    """

    data: np.ndarray
    affine: np.ndarray
    scan: ScanParameters
    air_voxels: int = 0
    outside_voxels: int = 0
    irregularity: str = ""

    @property
    def grid(self) -> Grid:
        """Shape and affine."""
        x, y, z = self.data.shape
        return Grid((x, y, z), self.affine)


def read_series(series: Series) -> Volume:
    """Read a series as a volume in HU.

    The affine comes from ImageOrientationPatient and the positions; slices are sorted along their
    normal, so the axes are right-handed. Rescale slope and intercept are applied to each slice. A
    tilted or unevenly spaced series is refused or resampled to a regular, untilted grid, as the
    settings of ``list_series`` say.

    Raises
    ------
    DicomError
        The series is not a volume, is irregular or too large, or a file cannot be decoded.
    """
    stack = series.stack
    if stack is None or series.verdict == "refused":
        raise DicomError(f"{series.name} is refused: {series.reason}", file=series.folder)
    if stack.irregularity and series.irregular == "refuse":
        raise DicomError(
            f"{series.name} is irregular: {stack.irregularity}",
            file=series.folder,
            remedy="list the series with irregular=resample, or export a regular series",
        )
    x, y, z = stack.shape
    if x * y * z > _LARGEST:
        raise DicomError(
            f"{series.name} is too large",
            file=series.folder,
            found=f"{x} × {y} × {z} voxels",
            expected=f"at most {_LARGEST} voxels",
        )
    data, air = _read(stack, series)
    first = stack.frames[0]
    scan = ScanParameters(
        kernel=first.kernel,
        kvp=first.acquisition.kvp,
        mas=first.mas,
        thickness_mm=first.thickness,
        manufacturer=first.manufacturer,
        model=first.model,
    )
    if stack.irregularity:
        resampled = resample_irregular(data, stack)
        return Volume(
            resampled.data,
            resampled.affine,
            scan=scan,
            air_voxels=air + resampled.outside,
            outside_voxels=resampled.outside,
            irregularity=stack.irregularity,
        )
    return Volume(data, stack.affine, scan=scan, air_voxels=air)


def _read(stack: SliceStack, series: Series) -> tuple[np.ndarray, int]:
    """Decode several files at a time and copy each frame to its position along the normal."""
    x, y, z = stack.shape
    # Slices are the slowest axis in memory: each is contiguous, and the order is that of NIfTI.
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
        # Decoded slices that are not yet copied take memory, too.
        for start in range(0, len(files), _FILES_PER_BATCH):
            some = files[start : start + _FILES_PER_BATCH]
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
    """Return the number of reading threads: fewer in a worker process, which has siblings."""
    return min(4, os.cpu_count() or 1) if multiprocessing.parent_process() is None else 2


def _decode(members: list[tuple[int, Frame]], data: np.ndarray, series: Series) -> Iterable[Slice]:
    """Read one file; an ordinary slice is read directly into ``data``."""
    place, frame = members[0]
    slices = _decode_slices(members, series)
    if len(members) > 1:
        return slices
    try:
        air = read_uncompressed_slice(frame, data[place]) if data.dtype == np.int16 else None
    except OSError as error:
        raise DicomError(
            f"{series.name}: a file cannot be read", file=series.folder, found=error.strerror
        ) from None
    return list(slices) if air is None else [Slice(data[place], air)]


def _decode_slices(members: list[tuple[int, Frame]], series: Series) -> Iterator[Slice]:
    """Decode one file; an error names the series and the slice, never the file."""
    try:
        yield from read_slices([frame for _, frame in members])
    except DicomError as error:
        error.file = str(series.folder)
        error.problem = (
            f"{series.name}: {error.problem}, slice {members[0][0] + 1} along the normal"
        )
        raise
