"""Convert the pixel data of one file to HU; padding becomes air."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom
from pydicom.pixels import apply_modality_lut, iter_pixels

from ctbone.dicom.decoder_pool import DecodingError, decode
from ctbone.dicom.deflated import inflated, is_deflated
from ctbone.dicom.headers import Frame
from ctbone.errors import DicomError
from ctbone.hounsfield import AIR

_INT16 = np.iinfo(np.int16)


@dataclass(frozen=True)
class Slice:
    """HU of one image.

    Attributes
    ----------
    hu
        (rows, columns), int16 if that is exact, else float32.
    air
        Number of voxels that were padding or below −1024 HU; they are set to −1024.
    """

    hu: np.ndarray
    air: int


def read_uncompressed_slice(frame: Frame, out: np.ndarray) -> int | None:
    """Read uncompressed 16-bit pixels directly into the volume, as HU.

    Parameters
    ----------
    frame
        The slice.
    out
        (rows, columns) int16, contiguous; its content is undefined if the result is None.

    Returns
    -------
    int or None
        Number of air voxels, as in ``Slice.air``. None if ``read_slices`` is needed: the pixels are
        stored in another way, the slope is not 1, or the values exceed int16.
    """
    pixels = frame.pixels
    intercept = frame.intercept
    if pixels is None or frame.slope != 1 or intercept is None or not float(intercept).is_integer():
        return None
    stored = out if pixels.signed else out.view(np.uint16)
    with frame.path.open("rb", buffering=0) as file:
        file.seek(pixels.offset)
        if file.readinto(stored.data) != stored.nbytes:
            return None
    padding = None if pixels.padding is None else _padded(stored, *pixels.padding)
    if pixels.bits < 16:
        # Unused bits (overlays, the padding value) are not part of the value.
        np.left_shift(stored, 16 - pixels.bits, out=stored)
        np.right_shift(stored, 16 - pixels.bits, out=stored)
        if pixels.padding is not None:
            padding = padding | _padded(stored, *pixels.padding)
    if padding is not None and padding.any():
        stored[padding] = min(
            max(AIR - int(intercept), np.iinfo(stored.dtype).min), np.iinfo(stored.dtype).max
        )
    else:
        padding = None
    low, high = (
        int(stored.min(initial=0)) + int(intercept),
        int(stored.max(initial=0)) + int(intercept),
    )
    if low < _INT16.min or high > _INT16.max or abs(intercept) > _INT16.max:
        return None
    if intercept:
        # Exact modulo 2^16, because the sums fit int16.
        np.add(out, np.int16(intercept), out=out)
    if low >= AIR and padding is None:
        return 0
    air = out < AIR
    if padding is not None:
        air |= padding
    out[air] = AIR
    return int(np.count_nonzero(air))


def read_slices(frames: Sequence[Frame]) -> Iterator[Slice]:
    """Decode the frames of one file, in the order given, one at a time.

    Raises
    ------
    DicomError
        The pixel data are missing, shorter than the header claims, not what the header describes,
        or in an unsupported transfer syntax.
    """
    try:
        path, compressed = frames[0].path, frames[0].compressed
        dataset = _dataset(path, header_only=compressed)
        several = int(dataset.get("NumberOfFrames") or 1) > 1
        indices = [frame.index for frame in frames] if several else None
        if compressed:
            pixels = decode(path, indices, frames[0].rows * frames[0].columns)
        else:
            _check_length(dataset)
            pixels = iter_pixels(dataset, indices=indices, raw=True, correct_unused_bits=False)
        for frame, stored in zip(frames, pixels, strict=True):
            yield _to_hu(stored, frame, dataset)
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except (
        BaseException
    ) as error:  # codecs raise anything, one of them beyond Exception, and quote the header
        raise DicomError("the pixel data cannot be decoded", found=_cause(error)) from None


def _check_length(dataset: pydicom.Dataset) -> None:
    if "PixelData" not in dataset:
        raise DecodingError("NoPixels")
    count = int(dataset.get("NumberOfFrames") or 1) * int(dataset.get("SamplesPerPixel") or 1)
    needed = dataset.Rows * dataset.Columns * count * ((dataset.BitsAllocated + 7) // 8)
    if len(dataset.PixelData or b"") < needed:
        raise DecodingError("Truncated", f"{len(dataset.PixelData or b'')} of {needed} bytes")


def _dataset(path: Path, *, header_only: bool) -> pydicom.Dataset:
    """Read a file; a deflated one is inflated no further than its pixels need."""
    with path.open("rb") as file:
        if is_deflated(file):
            return pydicom.dcmread(inflated(file, pixels=True), force=True)
    return pydicom.dcmread(path, force=True, stop_before_pixels=header_only)


def _to_hu(stored: np.ndarray, frame: Frame, dataset: pydicom.Dataset) -> Slice:
    if stored.shape != (frame.rows, frame.columns):
        raise DecodingError("Size", f"{stored.shape[-1]} × {stored.shape[0]}")
    outside = _padding(stored, dataset)
    stored = _low_bits(stored, int(dataset.BitsStored))
    padding = _padding(stored, dataset)
    if padding is not None and outside is not None:  # the value may need more than BitsStored
        padding = padding | outside
    if dataset.get("ModalityLUTSequence"):
        values = np.asarray(apply_modality_lut(stored, dataset))
    else:
        values = _rescale(stored, float(frame.slope or 0.0), float(frame.intercept or 0.0))
    air = values < AIR if padding is None else padding | (values < AIR)
    count = int(np.count_nonzero(air))
    if count:
        values[air] = AIR
    if values.dtype != np.float32:
        fits = values.max(initial=0) <= _INT16.max
        values = values.astype(np.int16 if fits else np.float32)
    return Slice(values, count)


def _low_bits(stored: np.ndarray, bits: int) -> np.ndarray:
    """Keep the lowest ``bits`` of each value, and extend the sign if the type has one."""
    unused = 8 * stored.dtype.itemsize - bits
    if unused <= 0:
        return stored
    shift = stored.dtype.type(unused)
    return (stored << shift) >> shift


def _rescale(stored: np.ndarray, slope: float, intercept: float) -> np.ndarray:
    if (
        slope == int(slope)
        and intercept == int(intercept)
        and abs(slope) < 2**15
        and abs(intercept) < 2**30
    ):
        if slope == 1:
            return stored.astype(np.int32) + np.int32(intercept)
        return (
            (stored.astype(np.int64) * int(slope) + int(intercept))
            .clip(-(2**31), 2**31 - 1)
            .astype(np.int32)
        )
    return (stored * slope + intercept).astype(np.float32)


def _padding(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    value = dataset.get("PixelPaddingValue")
    return None if value is None else _padded(stored, value, dataset.get("PixelPaddingRangeLimit"))


def _padded(stored: np.ndarray, value: int, limit: int | None) -> np.ndarray:
    """Mask of the pixels between PixelPaddingValue and PixelPaddingRangeLimit, if there is one."""
    ends = [
        _as_stored(int(end), stored.dtype) for end in (value, value if limit is None else limit)
    ]
    return (stored >= min(ends)) & (stored <= max(ends))


def _as_stored(value: int, dtype: np.dtype) -> int:
    """Convert the padding value to the pixels' dtype: many writers store −2000 as 63536."""
    bits = 8 * dtype.itemsize
    value &= (1 << bits) - 1
    return value - (1 << bits) if dtype.kind == "i" and value >> (bits - 1) else value


def _cause(error: BaseException) -> str:
    """Describe an error by its kind and by numbers only: its text may quote the header."""
    known = {
        "AttributeError": "the header does not describe the pixel data",
        "Budget": "the codec may need more memory than ctbone gives it (MiB)",
        "Damaged": "the compressed stream is damaged",
        "EOFError": "the file ends early",
        "Ends": "the compressed stream ends early: it is damaged",
        "MemoryError": "not enough memory for the pixels",
        "NoCodec": "no installed codec can decode the transfer syntax",
        "NoPixels": "the file has no pixel data",
        "NotImplementedError": "unsupported transfer syntax",
        "Precision": "the compressed stream has more bits than BitsAllocated",
        "RuntimeError": "the codec refuses the compressed stream as damaged",
        "Sign": "the sign of the values is unclear: bits of the compressed stream and BitsStored",
        "Size": "the compressed stream has another size than Rows and Columns",
        "Truncated": "less pixel data than the header claims",
        "DeflatedError": "the file inflates to more than its pixels need",
        "crash": "the codec crashes or hangs",
    }
    kind = str(error) if isinstance(error, DecodingError) else type(error).__name__
    found = error.found if isinstance(error, DecodingError) else ""
    text = known.get(kind, "the pixel data or their description in the header are damaged")
    return f"{text}: {found}" if found else text
