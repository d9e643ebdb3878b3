"""From stored values of a DICOM radiograph to grey: modality, VOI and presentation LUT.

The order is that of PS3.3, C.11: the modality LUT or rescale; the VOI LUT or a window; the
inversion of MONOCHROME1 or of the presentation LUT shape INVERSE. The result does not depend on
the content of the image, so a white collimation border changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom


def grey_of(stored: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray:
    """Convert stored values to grey as a viewer shows them by default.

    Where a file has a VOI LUT and windows, the LUT is taken; of several, the first. Where it has
    neither, all values that its bits can hold are spread over the grey scale. Padding is black.

    Parameters
    ----------
    stored
        Stored values of one frame, (rows, columns), integers.
    dataset
        The header.

    Returns
    -------
    numpy.ndarray
        float32, (rows, columns), 0 (black) to 1 (white).

    Raises
    ------
    ValueError
        A LUT or a window is not valid.
    """
    bits, signed = int(dataset.BitsStored), bool(dataset.get("PixelRepresentation", 0))
    values = _value_bits(stored, bits, signed)
    padding = _padding(values, dataset)
    outputs, span = _modality(values, dataset, bits=bits, signed=signed)
    grey = _voi(outputs, dataset, span)
    inverted = str(dataset.get("PresentationLUTShape", "")).strip().upper() == "INVERSE"
    if inverted or dataset.PhotometricInterpretation == "MONOCHROME1":
        grey = 1 - grey
    if padding is not None:
        grey[padding] = 0
    return grey.astype(np.float32)


def _value_bits(stored: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Return the values without the bits above BitsStored, in which old files keep overlays."""
    values = stored.astype(np.int64) & ((1 << bits) - 1)
    return np.where(values >> (bits - 1), values - (1 << bits), values) if signed else values


def _padding(values: np.ndarray, dataset: pydicom.Dataset) -> np.ndarray | None:
    first = dataset.get("PixelPaddingValue")
    if first is None:
        return None
    last = dataset.get("PixelPaddingRangeLimit", first)
    low, high = sorted((int(first), int(last)))
    return (values >= low) & (values <= high)


@dataclass(frozen=True)
class _Lut:
    """A lookup table: its outputs, the input of the first, and the bits of an output."""

    outputs: np.ndarray
    first: int
    bits: int

    def __call__(self, values: np.ndarray) -> np.ndarray:
        places = np.clip(np.rint(values).astype(np.int64) - self.first, 0, len(self.outputs) - 1)
        return self.outputs[places]


def _modality(
    values: np.ndarray, dataset: pydicom.Dataset, *, bits: int, signed: bool
) -> tuple[np.ndarray, tuple[float, float]]:
    """Return the outputs of the modality LUT, and the lowest and highest that are possible."""
    if dataset.get("ModalityLUTSequence"):
        lut = _lut_of(dataset.ModalityLUTSequence[0], signed=signed)
        return lut(values).astype(float), (0.0, float((1 << lut.bits) - 1))
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    low = -(1 << (bits - 1)) if signed else 0
    ends = sorted(slope * end + intercept for end in (low, low + (1 << bits) - 1))
    if not np.isfinite([slope, intercept]).all() or slope == 0:
        raise ValueError("the rescale slope is not a number, or 0")
    return slope * values + intercept, (ends[0], ends[1])


def _voi(values: np.ndarray, dataset: pydicom.Dataset, span: tuple[float, float]) -> np.ndarray:
    """Return grey, 0–1, from the outputs of the modality LUT."""
    if dataset.get("VOILUTSequence"):
        lut = _lut_of(dataset.VOILUTSequence[0], signed=span[0] < 0)
        return lut(values) / float((1 << lut.bits) - 1)
    if dataset.get("WindowCenter") is None or dataset.get("WindowWidth") is None:
        return (values - span[0]) / (span[1] - span[0])
    center, width = _first(dataset.WindowCenter), _first(dataset.WindowWidth)
    function = str(dataset.get("VOILUTFunction", "") or "LINEAR").strip().upper()
    if not np.isfinite([center, width]).all() or width < 1 or function not in _WINDOWS:
        raise ValueError("the window is not valid")
    if function == "SIGMOID":
        return 1 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR" and width > 1:  # C.11.2.1.2.1; LINEAR_EXACT is C.11.2.1.3.2
        center, width = center - 0.5, width - 1
    elif function == "LINEAR":
        return (values > center - 0.5).astype(float)
    return np.clip((values - center) / width + 0.5, 0, 1)


_WINDOWS = ("LINEAR", "LINEAR_EXACT", "SIGMOID")


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, (list, pydicom.multival.MultiValue)) else value)


def _lut_of(item: pydicom.Dataset, *, signed: bool) -> _Lut:
    """Read a lookup table from LUT Descriptor and LUT Data (C.11.1.1, C.11.2.1.1)."""
    count, first, bits = (int(number) for number in item.LUTDescriptor)
    count = count or 1 << 16  # 0 stands for 65,536
    first &= (1 << 16) - 1
    if signed and first >> 15:
        first -= 1 << 16
    data = item.LUTData
    if isinstance(data, bytes):
        kind = "<u1" if len(data) == count and bits <= 8 else "<u2"
        outputs = np.frombuffer(data, kind)
    else:
        outputs = np.atleast_1d(np.array(data, dtype=np.int64))
    if len(outputs) < count or not 8 <= bits <= 16:
        raise ValueError("the LUT is shorter than its descriptor says, or its bits are not 8–16")
    return _Lut(np.asarray(outputs[:count], np.int64) & ((1 << bits) - 1), first, bits)
