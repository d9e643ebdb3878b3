"""Sort slices by position and compute their affine, or the reason why they are not a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctbone.dicom.headers import Frame
from ctbone.grid import LPS_TO_RAS

FEWEST_SLICES = 3
# Largest difference of direction cosines, and of their dot product from zero, between equal
# directions.
_SAME_DIRECTION = 1e-3
# Regular slices: deviation from an even grid as a share of the mean gap, and sideways shift as a
# share of the pixel spacing (or 0.02 mm, the rounding of positions in headers).
_UNEVEN_SHARE = 0.05
_SHIFT_SHARE, _SHIFT_MM = 0.1, 0.02
# Slices closer than this (mm, or share of the median gap) are duplicates.
_DUPLICATE_MM, _DUPLICATE_SHARE = 0.01, 0.05
# A message lists at most this many values.
_MOST_LISTED = 6


@dataclass(frozen=True)
class SliceStack:
    """The slices of one series, sorted along their normal, in DICOM's coordinates (LPS mm).

    Attributes
    ----------
    frames
        Sorted along the normal.
    row, column, normal
        Unit vectors along a row (index i), down a column (index j), and their cross product.
    positions
        (n, 3), centre of each slice's first pixel, mm.
    pixel
        Pixel spacing along i and j, mm.
    gap
        Distance of neighbouring slices along the normal, mm: the mean of regular slices, else the
        median.
    tilt
        Gantry tilt: angle between the normal and the line through the slices, degrees.
    irregularity
        Empty for a regular grid; otherwise a description of the tilt or the uneven gaps.
    """

    frames: tuple[Frame, ...]
    row: np.ndarray
    column: np.ndarray
    normal: np.ndarray
    positions: np.ndarray
    pixel: tuple[float, float]
    gap: float
    tilt: float
    irregularity: str

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), index (column, row, slice) to RAS mm; valid for regular slices."""
        affine = np.eye(4)
        affine[:3, 0] = self.row * self.pixel[0]
        affine[:3, 1] = self.column * self.pixel[1]
        affine[:3, 2] = self.normal * self.gap
        affine[:3, 3] = self.positions[0]
        return LPS_TO_RAS @ affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        return self.frames[0].columns, self.frames[0].rows, len(self.frames)


def stack_slices(frames: Sequence[Frame]) -> SliceStack | str:
    """Sort the slices of one series, or return the reason why they are not a volume.

    The geometry comes from ImageOrientationPatient, ImagePositionPatient and PixelSpacing alone.
    Slices are regular if each lies within 5 % of the mean gap of an even grid, and within a tenth
    of a pixel of the normal through the first slice.
    """
    fault = _header_fault(frames)
    if fault:
        return fault
    row, column, normal = _axes(frames[0].orientation or ())
    if not abs(row @ column) < _SAME_DIRECTION or not np.isfinite(normal).all():
        return "the row and column directions are not at right angles"
    column = np.cross(normal, row)
    along = np.array([np.dot(frame.position or (), normal) for frame in frames])
    order = np.argsort(along, kind="stable")
    along = along[order]
    positions = np.array([frames[k].position for k in order], dtype=float)
    gaps = np.diff(along)
    fault = _positions_fault(along, gaps)
    if fault:
        return fault
    spacing = frames[0].pixel_spacing or ()
    pixel = (float(spacing[1]), float(spacing[0]))
    mean = float(along[-1] - along[0]) / len(gaps)
    uneven = np.abs(along - (along[0] + mean * np.arange(len(along)))).max() > _UNEVEN_SHARE * mean
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    drift = np.linalg.norm(sideways, axis=1)
    tilted = drift.max() > max(_SHIFT_SHARE * min(pixel), _SHIFT_MM)
    tilt = float(np.degrees(np.arctan2(drift[-1], along[-1] - along[0])))
    return SliceStack(
        frames=tuple(frames[k] for k in order),
        row=row,
        column=column,
        normal=normal,
        positions=positions,
        pixel=pixel,
        gap=float(np.median(gaps)) if uneven else mean,
        tilt=tilt if tilted else 0.0,
        irregularity=_irregularity(tilt if tilted else None, gaps if uneven else None),
    )


def _header_fault(frames: Sequence[Frame]) -> str:
    """Describe values that are missing from, or differ between, the headers of one series."""
    for name, word in (
        ("orientation", "orientation"),
        ("position", "position"),
        ("pixel_spacing", "pixel spacing"),
    ):
        missing = sum(getattr(frame, name) is None for frame in frames)
        if missing:
            return f"{missing} of {len(frames)} slices have no {word}"
    if len(frames) < FEWEST_SLICES:
        return f"too few slices: {len(frames)}, a volume needs at least {FEWEST_SLICES}"
    sizes = sorted({(frame.columns, frame.rows) for frame in frames})
    if len(sizes) > 1:
        return "mixed sizes: " + ", ".join(
            f"{columns} × {rows}" for columns, rows in sizes[:_MOST_LISTED]
        )
    spacings = np.array([frame.pixel_spacing for frame in frames])
    if not (spacings > 0).all():
        return "the pixel spacing is not positive"
    if np.ptp(spacings, axis=0).max() > 1e-3 * spacings.min():
        return f"mixed pixel spacings: {spacings.min():.4g} to {spacings.max():.4g} mm"
    orientations = np.array([frame.orientation for frame in frames])
    apart = np.abs(orientations - orientations[0]).max(axis=1)
    if apart.max() > _SAME_DIRECTION:
        odd = int(np.count_nonzero(apart > _SAME_DIRECTION))
        return f"mixed orientations: {odd} of {len(frames)} slices differ from the first"
    return ""


def _axes(orientation: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        row = np.array(orientation[:3]) / np.linalg.norm(orientation[:3])
        column = np.array(orientation[3:]) / np.linalg.norm(orientation[3:])
        normal = np.cross(row, column)
        return row, column, normal / np.linalg.norm(normal)


def _positions_fault(along: np.ndarray, gaps: np.ndarray) -> str:
    """List duplicate and missing positions along the normal."""
    wide = gaps[gaps > _DUPLICATE_MM]
    if not len(wide):
        return f"all {len(along)} slices are at one position, {along[0]:.2f} mm along the normal"
    same = gaps <= max(_DUPLICATE_MM, _DUPLICATE_SHARE * float(np.median(wide)))
    duplicates = np.unique(along[:-1][same].round(2))
    kept = along[np.concatenate([[True], ~same])]
    missing = _missing(kept)
    faults = []
    if len(duplicates):
        faults.append(f"duplicate slices at {_mm(duplicates)} along the normal")
    if len(missing):
        faults.append(f"missing slices at {_mm(missing)} along the normal")
    return "; ".join(faults)


def _missing(along: np.ndarray) -> np.ndarray:
    """Return the missing positions if all gaps are multiples of one step.

    The step is the smallest gap, or a half or a third of it. If the gaps are not such multiples, or
    differ by less than a half, they are uneven and no position is missing.
    """
    gaps = np.diff(along)
    if not len(gaps) or gaps.max() < 1.5 * gaps.min():
        return np.array([])
    for parts in (1, 2, 3):
        step = gaps.min() / parts
        multiples = np.rint(gaps / step)
        if np.abs(gaps / step - multiples).max() < 0.05:
            holes = [at + step * np.arange(1, n) for at, n in zip(along, multiples, strict=False)]
            return np.concatenate(holes)
    return np.array([])


def _mm(positions: np.ndarray) -> str:
    listed = ", ".join(f"{position:.2f}" for position in positions[:_MOST_LISTED])
    rest = len(positions) - _MOST_LISTED
    return f"{listed} mm" + (f" and {rest} more" if rest > 0 else "")


def _irregularity(tilt: float | None, gaps: np.ndarray | None) -> str:
    words = []
    if tilt is not None:
        words.append(f"gantry tilt of {tilt:.1f}°" if tilt > 0.05 else "slices shifted sideways")
    if gaps is not None:
        words.append(f"uneven gaps, {gaps.min():.2f} to {gaps.max():.2f} mm")
    return " and ".join(words)
