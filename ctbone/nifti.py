"""Read, check and write NIfTI volumes: lazily, slice by slice, with one true affine."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import cast

import nibabel as nib
import numpy as np
from isal import igzip, igzip_threaded
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError

from ctbone.errors import NiftiError
from ctbone.grid import Grid
from ctbone.hounsfield import AIR
from ctbone.study import atomic_path

_LARGEST = 2**31
"""Voxels of the largest volume that is read: 4 GiB of int16, ten times a large CT."""
_SHEAR = 2e-3
"""Cosine between two axes above which a volume is sheared: 0.1°, more than rounding in headers."""
_CHUNK = 1 << 22
"""Bytes that are decompressed at once, 4 MiB."""
_BLOCK = 1 << 20
"""Bytes that one thread compresses at once, 1 MiB."""
_SLICES_AT_ONCE = 16
"""Slices that are copied at once for writing."""
_APART = 0.1
"""Voxels by which the corners of sform and qform may differ."""


@dataclass(frozen=True)
class NiftiFile:
    """A NIfTI file with a checked header; the voxels are read on demand.

    Attributes
    ----------
    path, case
        The file, and the case that messages name.
    grid
        Shape and affine.
    dtype, offset, slope, intercept
        How the voxels are stored.
    """

    path: Path
    case: str | None
    grid: Grid
    dtype: np.dtype
    offset: int
    slope: float
    intercept: float

    @property
    def scaled(self) -> bool:
        """Whether the header scales the stored numbers."""
        return (self.slope, self.intercept) != (1.0, 0.0)

    def read(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        """Read the slices ``start`` to ``stop`` along the last axis, as values.

        Returns
        -------
        numpy.ndarray
            Shape (x, y, stop − start), read-only; the stored type, or float32 where the header
            scales.

        Raises
        ------
        NiftiError
            The file ends early, or its compressed stream is damaged.
        """
        return self._values(self._stored(start, self.grid.shape[2] if stop is None else stop))

    def runs(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, np.ndarray]]:
        """Yield the slices ``start`` to ``stop`` in runs of a few; only one run is in memory.

        Yields
        ------
        tuple
            Index of the run's first slice, and its values (x, y, n) as ``read`` returns them, valid
            until the next run.

        Raises
        ------
        NiftiError
            The file ends early, or its compressed stream is damaged.
        """
        x, y, z = self.grid.shape
        stop = z if stop is None else stop
        slice_bytes = x * y * self.dtype.itemsize
        count = max(1, _CHUNK // slice_bytes)
        with _damage_as_error(self):
            if not self.path.name.endswith(".gz"):
                mapped = self._stored(start, stop)
                for first in range(start, stop, count):
                    yield first, self._values(mapped[:, :, first - start : first - start + count])
                return
            buffer = memoryview(bytearray(count * slice_bytes))
            with _stream(self.path) as file:
                _skip(file, self.offset + start * slice_bytes, buffer)
                for first in range(start, stop, count):
                    run = buffer[: min(count, stop - first) * slice_bytes]
                    _fill(file, run)
                    yield (
                        first,
                        self._values(np.frombuffer(run, self.dtype).reshape((x, y, -1), order="F")),
                    )
                if stop == z:
                    _drain(file, buffer)

    def read_box(self, low: Sequence[int], high: Sequence[int]) -> np.ndarray:
        """Read the voxels from index ``low`` to ``high``, exclusive; only these are kept in memory.

        Raises
        ------
        NiftiError
            The file ends early, or its compressed stream is damaged.
        """
        part = (slice(low[0], high[0]), slice(low[1], high[1]))
        kind = np.dtype(np.float32) if self.scaled else self.dtype
        box = np.empty([b - a for a, b in zip(low, high, strict=True)], kind, order="F")
        for first, values in self.runs(low[2], high[2]):
            box[:, :, first - low[2] : first - low[2] + values.shape[2]] = values[part]
        return box

    def _stored(self, start: int, stop: int) -> np.ndarray:
        x, y, z = self.grid.shape
        slice_bytes = x * y * self.dtype.itemsize
        stored = _read_bytes(
            self, start * slice_bytes, (stop - start) * slice_bytes, to_end=stop == z
        )
        return np.frombuffer(stored, self.dtype).reshape((x, y, stop - start), order="F")

    def _values(self, stored: np.ndarray) -> np.ndarray:
        if self.scaled:
            return stored.astype(np.float32) * np.float32(self.slope) + np.float32(self.intercept)
        return stored


def open_nifti(path: Path, case: str | None = None) -> NiftiFile:
    """Check a NIfTI file's header.

    Raises
    ------
    NiftiError
        The file is missing or not NIfTI; it is not 3D; its spacing is zero or not in mm; its axes
        are not at right angles; it has no affine, or two that disagree.

    Notes
    -----
    The affine is the sform where it is set, else the qform. A trailing axis of length one is
    dropped.
    """
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Image) or not str(path).endswith((".nii", ".nii.gz")):
            raise ImageFileError
        with _stream(path) as file:  # unchecked: nibabel silently repairs a spacing of zero
            header = type(image.header).from_fileobj(file, check=False)
        shape = tuple(int(n) for n in header.get_data_shape())
        stored = image.dataobj
        offset, dtype = int(stored.offset), stored.dtype
        slope, intercept = float(stored.slope), float(stored.inter)
    except FileNotFoundError as error:
        raise NiftiError("the file does not exist", case=case, file=path) from error
    except Exception as error:  # a damaged header raises any of a dozen types in nibabel
        raise NiftiError(
            "the file is not a readable NIfTI",
            case=case,
            file=path,
            found=type(error).__name__,
            expected=".nii or .nii.gz",
        ) from None
    _check_shape(shape, dtype, path, case)
    grid = Grid(cast(tuple[int, int, int], shape[:3]), _affine(header, shape, path, case))
    return NiftiFile(
        path=path,
        case=case,
        grid=grid,
        dtype=dtype,
        offset=offset,
        slope=slope,
        intercept=intercept,
    )


def write_nifti(path: Path, data: np.ndarray, affine: np.ndarray, level: int = 1) -> None:
    """Write a volume atomically, with equal sform and qform; ISA-L compresses ``.gz``.

    Parameters
    ----------
    path
        Ends in ``.nii`` or ``.nii.gz``.
    data
        Shape (x, y, z), int16, uint8 or float32.
    affine
        (4, 4), in RAS mm.
    level
        Compression level of ISA-L, 0–3.

    Raises
    ------
    StudyError
        The disk is full or the folder cannot be written.
    """
    image = nib.Nifti1Image(data[..., :0], affine)
    header = image.header
    header.set_data_shape(data.shape)
    header.set_data_dtype(data.dtype)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header.set_qform(affine, code=1)
    header.set_sform(affine, code=1)
    header["vox_offset"] = 352
    head = header.binaryblock + b"\0\0\0\0"
    with atomic_path(path) as temporary, _writer(temporary, level) as file:
        file.write(head)
        for start in range(0, data.shape[2], _SLICES_AT_ONCE):
            file.write(
                np.ascontiguousarray(data[:, :, start : start + _SLICES_AT_ONCE].T).data.cast("B")
            )


def to_hu(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Round values to int16 HU and raise values below −1024 to −1024.

    Returns
    -------
    tuple
        The int16 array, and how many voxels were raised (padding, corners outside the scan).

    Examples
    --------
    >>> to_hu(np.array([-3024.0, 40.4, 70000.0]))
    (array([-1024,    40, 32767], dtype=int16), 1)
    """
    below = int(np.count_nonzero(values < AIR))
    if values.dtype == np.int16 and not below:
        return values, 0
    rounded = values if np.issubdtype(values.dtype, np.integer) else np.rint(values)
    return np.clip(rounded, AIR, np.iinfo(np.int16).max).astype(np.int16), below


def _check_shape(shape: tuple[int, ...], dtype: np.dtype, path: Path, case: str | None) -> None:
    sizes = " × ".join(str(n) for n in shape)
    if len(shape) < 3 or any(n != 1 for n in shape[3:]):
        raise NiftiError(
            f"the volume has {len(shape)} axes",
            case=case,
            file=path,
            found=sizes,
            expected="3",
            remedy="export one time point, or one slice as a volume, on its own",
        )
    if any(n < 1 for n in shape) or math.prod(shape) > _LARGEST:
        raise NiftiError("the volume has an impossible size", case=case, file=path, found=sizes)
    if dtype.names or dtype.kind not in "iuf":
        raise NiftiError("the voxels are not plain numbers", case=case, file=path, found=str(dtype))


def _affine(
    header: nib.Nifti1Header, shape: tuple[int, ...], path: Path, case: str | None
) -> np.ndarray:
    zooms = np.asarray(header["pixdim"][1:4], dtype=float)
    if not np.all(np.isfinite(zooms)) or np.any(zooms <= 0):
        raise NiftiError(
            "the spacing is not positive",
            case=case,
            file=path,
            found=zooms.tolist(),
            expected="mm > 0",
        )
    # The low three bits are the unit of length; those of time may hold anything.
    units = {1: "meter", 3: "micron"}.get(int(header["xyzt_units"]) & 7)
    if units is not None:
        raise NiftiError(
            "the spacing is not in mm",
            case=case,
            file=path,
            found=units,
            remedy="export it again in mm",
        )
    try:
        sform, qform = header.get_sform(coded=True)[0], header.get_qform(coded=True)[0]
    except (ValueError, HeaderDataError):
        raise NiftiError("the orientation cannot be decoded", case=case, file=path) from None
    affine = sform if sform is not None else qform
    if affine is None:
        raise NiftiError(
            "the affine is missing: neither sform nor qform is set",
            case=case,
            file=path,
            remedy="export it again from the DICOM series",
        )
    affine = np.asarray(affine, dtype=float)
    _check_affine(affine, path, case)
    if sform is not None and qform is not None:
        ends = Grid(cast(tuple[int, int, int], shape[:3]), affine).corners()
        others = Grid(
            cast(tuple[int, int, int], shape[:3]), np.asarray(qform, dtype=float)
        ).corners()
        apart = float(np.abs(ends - others).max())
        if not apart <= _APART * zooms.min():
            raise NiftiError(
                "sform and qform disagree",
                case=case,
                file=path,
                found=f"{apart:.2f} mm apart",
                expected="the same affine",
                remedy="export it again, or set both to the one that is right",
            )
    return affine


def _check_affine(affine: np.ndarray, path: Path, case: str | None) -> None:
    columns = affine[:3, :3]
    spacing = np.linalg.norm(columns, axis=0)
    if not np.all(np.isfinite(affine)) or np.any(spacing <= 0):
        raise NiftiError(
            "the affine has no spacing", case=case, file=path, found=affine[:3].round(4).tolist()
        )
    if spacing.max() < 0.02 or spacing.max() > 100:
        raise NiftiError(
            "the spacing is implausible in mm",
            case=case,
            file=path,
            found=[float(f"{mm:.4g}") for mm in spacing],
            expected="0.02 to 100",
            remedy="is it in metres or microns? export it again in mm",
        )
    directions = columns / spacing
    shear = np.abs(directions.T @ directions - np.eye(3)).max()
    if shear > _SHEAR:
        raise NiftiError(
            "the volume's axes are not at right angles",
            case=case,
            file=path,
            found=f"{np.degrees(np.arcsin(min(shear, 1.0))):.1f}° of shear",
            remedy="convert the DICOM series with ctbone, which resamples tilted series",
        )


def _read_bytes(
    nifti: NiftiFile, start: int, count: int, *, to_end: bool
) -> bytearray | np.ndarray:
    """Read ``count`` bytes of voxels from ``start``; ``to_end`` also checks the CRC of a .gz."""
    path = nifti.path
    with _damage_as_error(nifti):
        if not path.name.endswith(".gz"):
            return np.memmap(path, np.uint8, "r", nifti.offset + start, (count,))
        spare = memoryview(bytearray(_CHUNK))
        with _stream(path) as file:
            _skip(file, nifti.offset + start, spare)
            stored = bytearray(count)
            _fill(file, memoryview(stored))
            if to_end:
                _drain(file, spare)
            return stored


@contextmanager
def _damage_as_error(nifti: NiftiFile) -> Iterator[None]:
    try:
        yield
    except NiftiError:
        raise
    except FileNotFoundError as error:
        raise NiftiError("the file does not exist", case=nifti.case, file=nifti.path) from error
    except Exception as error:  # isal, zlib and gzip raise different types for a damaged stream
        raise NiftiError(
            "the file ends early or is damaged",
            case=nifti.case,
            file=nifti.path,
            found=type(error).__name__,
            remedy="copy or export it again",
        ) from None


def _writer(path: Path, level: int) -> BufferedIOBase:
    if not path.name.endswith(".gz"):
        return cast(BufferedIOBase, path.open("wb"))
    # With one thread or more the bytes do not depend on the number of threads.
    threads = min(4, os.cpu_count() or 1)
    return cast(
        BufferedIOBase, igzip_threaded.open(path, "wb", level, threads=threads, block_size=_BLOCK)
    )


def _stream(path: Path) -> BufferedIOBase:
    return cast(
        BufferedIOBase, igzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb")
    )


def _fill(file: BufferedIOBase, view: memoryview) -> None:
    filled = 0
    while filled < len(view):
        got = file.readinto(view[filled:])
        if not got:
            raise EOFError
        filled += got


def _skip(file: BufferedIOBase, count: int, spare: memoryview) -> None:
    while count > 0:
        part = spare[: min(count, len(spare))]
        _fill(file, part)
        count -= len(part)


def _drain(file: BufferedIOBase, spare: memoryview) -> None:
    """Read to the end of the stream, where its CRC is checked."""
    while file.readinto(spare):
        pass
