"""From positions and orientations of slices to one affine, or to the reason why there is none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctbone.dicom.headers import Frame
from ctbone.grid import LPS_TO_RAS

FEWEST_SLICES = 3
_SAME_DIRECTION = 1e-3
_NAMED = 6


@dataclass(frozen=True)
class Stack:
    """The slices of one series, in order along their normal, DICOM's own axes (LPS mm).

    Attributes
    ----------
    frames
        Sorted along the normal.
    row, column, normal
        Unit vectors: along a row (index i), down a column (index j), and their cross product.
    positions
        (n, 3), centre of each slice's first pixel.
    pixel
        Distances of pixels along i and j, in mm.
    gap
        Distance of neighbouring slices along the normal, mm: mean where they are regular, else the median.
    tilt
        Angle between the normal and the line on which the slices are stacked, in degrees.
    irregular
        Empty, or what keeps the slices from being a regular grid.
    """

    frames: tuple[Frame, ...]
    row: np.ndarray
    column: np.ndarray
    normal: np.ndarray
    positions: np.ndarray
    pixel: tuple[float, float]
    gap: float
    tilt: float
    irregular: str

    @property
    def affine(self) -> np.ndarray:
        """(4, 4), from (i, j, k) = (column, row, slice) to RAS mm; true where the stack is regular."""
        affine = np.eye(4)
        affine[:3, 0] = self.row * self.pixel[0]
        affine[:3, 1] = self.column * self.pixel[1]
        affine[:3, 2] = self.normal * self.gap
        affine[:3, 3] = self.positions[0]
        return LPS_TO_RAS @ affine

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along i, j, k."""
        return self.frames[0].columns, self.frames[0].rows, len(self.frames)


def stack(frames: Sequence[Frame]) -> Stack | str:
    """Order the slices of one series, or say in a line why they are no volume.

    The geometry comes from ImageOrientationPatient, ImagePositionPatient and PixelSpacing alone. Slices are regular
    where none is further than 5 % of the spacing from an even grid, nor further than a tenth of a pixel from the
    line through the first along the normal.
    """
    fault = _mixed(frames)
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
    uneven = np.abs(along - (along[0] + mean * np.arange(len(along)))).max() > 0.05 * mean
    sideways = positions - positions[0] - np.outer(along - along[0], normal)
    drift = np.linalg.norm(sideways, axis=1)
    tilted = drift.max() > max(0.1 * min(pixel), 0.02)
    tilt = float(np.degrees(np.arctan2(drift[-1], along[-1] - along[0])))
    return Stack(
        frames=tuple(frames[k] for k in order),
        row=row,
        column=column,
        normal=normal,
        positions=positions,
        pixel=pixel,
        gap=float(np.median(gaps)) if uneven else mean,
        tilt=tilt if tilted else 0.0,
        irregular=_irregular(tilt if tilted else None, gaps if uneven else None),
    )


def _mixed(frames: Sequence[Frame]) -> str:
    """Say what is missing from, or differs between, the headers of one series."""
    for name, word in (
        ("orientation", "orientation"),
        ("position", "position"),
        ("pixel_spacing", "pixel spacing"),
    ):
        lacking = sum(getattr(frame, name) is None for frame in frames)
        if lacking:
            return f"{lacking} of {len(frames)} slices have no {word}"
    if len(frames) < FEWEST_SLICES:
        return f"too few slices: {len(frames)}, a volume has {FEWEST_SLICES} or more"
    sizes = sorted({(frame.columns, frame.rows) for frame in frames})
    if len(sizes) > 1:
        return "mixed sizes: " + ", ".join(
            f"{columns} × {rows}" for columns, rows in sizes[:_NAMED]
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
        return f"mixed orientations: {odd} of {len(frames)} slices lie otherwise than the first"
    return ""


def _axes(orientation: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    with np.errstate(invalid="ignore", divide="ignore"):
        row = np.array(orientation[:3]) / np.linalg.norm(orientation[:3])
        column = np.array(orientation[3:]) / np.linalg.norm(orientation[3:])
        normal = np.cross(row, column)
        return row, column, normal / np.linalg.norm(normal)


def _positions_fault(along: np.ndarray, gaps: np.ndarray) -> str:
    """Name the positions along the normal that are there twice, and those that are not there."""
    wide = gaps[gaps > 0.01]
    if not len(wide):
        return f"all {len(along)} slices are at one position, {along[0]:.2f} mm along the normal"
    same = gaps <= max(0.01, 0.05 * float(np.median(wide)))
    twice = np.unique(along[:-1][same].round(2))
    kept = along[np.concatenate([[True], ~same])]
    missing = _missing(kept)
    faults = []
    if len(twice):
        faults.append(f"duplicate slices at {_mm(twice)} along the normal")
    if len(missing):
        faults.append(f"missing slices at {_mm(missing)} along the normal")
    return "; ".join(faults)


def _missing(along: np.ndarray) -> np.ndarray:
    """Return the positions that lack where all gaps are multiples of one step (a half or a third of the smallest)."""
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
    named = ", ".join(f"{position:.2f}" for position in positions[:_NAMED])
    rest = len(positions) - _NAMED
    return f"{named} mm" + (f" and {rest} more" if rest > 0 else "")


def _irregular(tilt: float | None, gaps: np.ndarray | None) -> str:
    words = []
    if tilt is not None:
        words.append(f"gantry tilt of {tilt:.1f}°" if tilt > 0.05 else "slices shifted sideways")
    if gaps is not None:
        words.append(f"uneven gaps, {gaps.min():.2f} to {gaps.max():.2f} mm")
    return " and ".join(words)
