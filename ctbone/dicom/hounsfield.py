"""Check in the headers of a series that its values are Hounsfield units."""

from __future__ import annotations

from collections.abc import Sequence

from ctbone.dicom.header_vocabulary import UNITS
from ctbone.dicom.headers import Frame

# Slopes (HU per stored value) and intercepts (HU) of CT scanners: mostly 1 and −1024, 10 and −10240
# on the extended scale; −32768 where 16 unsigned bits hold both signs.
_SLOPES = (1e-3, 100.0)
_LARGEST_INTERCEPT = 1e5


def unit_fault(frames: Sequence[Frame]) -> str:
    """Describe values that are not HU, or return an empty string.

    RescaleType may be HU, missing (HU by the standard, C.11.1.1.2) or US (unspecified).
    """
    units = sorted({frame.unit for frame in frames} - {"", "HU", "US"})
    if units:
        named = ", ".join(
            f"{unit} ({UNITS[unit]})" if unit in UNITS else "an unknown unit" for unit in units
        )
        return f"the values are {named}, not HU"
    unscaled = sum(frame.slope is None or frame.intercept is None for frame in frames)
    if unscaled:
        part = "" if unscaled == len(frames) else f"{unscaled} of {len(frames)} slices have "
        return f"{part}no rescale slope and intercept: the values are not HU"
    return _scale_fault(frames)


def _scale_fault(frames: Sequence[Frame]) -> str:
    least, most = _SLOPES
    for frame in frames:
        slope, intercept = frame.slope, frame.intercept
        if slope is not None and not least <= slope <= most:
            return f"RescaleSlope {slope:g} gives no HU, expected {least:g} to {most:g}"
        if intercept is not None and not abs(intercept) <= _LARGEST_INTERCEPT:
            return (
                f"RescaleIntercept {intercept:g} gives no HU, expected at most "
                f"{_LARGEST_INTERCEPT:g} either way"
            )
    return ""


def bits_fault(frames: Sequence[Frame]) -> str:
    """Describe pixels whose value does not lie in the low bits, or return an empty string.

    HighBit is BitsStored − 1 (DICOM PS3.5, 8.1.1).
    """
    for frame in frames:
        stored, high = frame.bits_stored, frame.high_bit
        if stored is not None and high is not None and high != stored - 1:
            return (
                f"BitsStored {stored} with HighBit {high}: where the pixel value lies is unclear, "
                f"expected HighBit {stored - 1}"
            )
    return ""


def unit_note(frames: Sequence[Frame]) -> str:
    """Return a note on a unit that the header leaves open, or an empty string."""
    if any(frame.unit == "US" for frame in frames):
        return "RescaleType is US (unspecified); the values are taken as HU"
    return ""
