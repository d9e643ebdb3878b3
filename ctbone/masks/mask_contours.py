"""Fill closed planar contours with voxels, slice by slice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ctbone.grid import Grid
from ctbone.masks.contour_nesting import FilledSlice, fill_slice

_FLAT = 0.1
"""Extent along an axis, in voxels, up to which a contour counts as planar across it."""
_OFF_SLICE = 0.25
"""Distance from the nearest slice, in voxels, up to which a contour belongs to it."""
_MOST_VOXELS = 2**31
"""Voxels of the largest mask that is filled."""


class ContourError(Exception):
    """Why contours cannot be filled on an image."""


@dataclass(frozen=True)
class FilledContours:
    """Contours, filled.

    Attributes
    ----------
    voxels
        Booleans on the part of the image's grid that contains the contours.
    grid
        The grid of that part. Where only every second or third slice was drawn on, its voxels are
        as thick as two or three slices.
    notes
        How many contours were dropped or united, where a user should know.
    """

    voxels: np.ndarray
    grid: Grid
    notes: tuple[str, ...] = ()


def fill_contours(
    contours: Sequence[np.ndarray], image: Grid, *, exclusive: bool = False
) -> FilledContours:
    """Fill contours on the slices of the image on which they were drawn.

    Parameters
    ----------
    contours
        Each (n, 3), in RAS mm; its last point is joined to its first.
    image
        Grid of the image.
    exclusive
        Whether the even–odd rule also holds for crossing contours (CLOSEDPLANAR_XOR).

    Raises
    ------
    ContourError
        A contour has fewer than three points, lies across or between the image's slices, or leaves
        the image.

    Notes
    -----
    A voxel is inside where its centre is. A contour within another is a hole, and a hole joined to
    the outside by a channel of zero width stays a hole; a repeated contour counts once; crossing
    contours are united (``fill_slice``).
    """
    indices = [image.to_index(points) for points in contours]
    if any(len(points) < 3 or not np.isfinite(points).all() for points in indices):
        raise ContourError("a contour has fewer than three points, or a NaN or infinite coordinate")
    everything = np.concatenate(indices)
    low, high = everything.min(axis=0), everything.max(axis=0)
    if (low < -1).any() or (high > image.shape).any():
        reach = f"voxels {_span(low)} to {_span(high)} of {_span(image.shape)}"
        raise ContourError(f"its contours leave the image: {reach}")
    axis = _slice_axis(indices)
    planes = np.array([points[:, axis].mean() for points in indices])
    slices = np.rint(planes).astype(int)
    if np.abs(planes - slices).max() > _OFF_SLICE:
        raise ContourError(
            "its contours lie between the slices of the image: were they drawn on another series?"
        )
    gaps = np.diff(np.unique(slices))
    step = int(gaps.min()) if len(gaps) else 1
    if len(gaps) and (gaps % step).any():
        step = 1
    start = np.maximum(np.floor(low).astype(int), 0)
    start[axis] = slices.min()
    stop = np.minimum(np.ceil(high).astype(int) + 1, image.shape)
    shape = stop - start
    shape[axis] = (slices.max() - slices.min()) // step + 1
    if int(np.prod(shape)) > _MOST_VOXELS:
        raise ContourError(f"it would fill {_span(shape)} voxels")
    voxels = np.zeros(shape, bool)
    across = [k for k in range(3) if k != axis]
    filled: list[FilledSlice] = []
    for place in np.unique(slices):
        polygons = [indices[k][:, across] - start[across] for k in np.flatnonzero(slices == place)]
        target = [slice(None)] * 3
        target[axis] = (place - slices.min()) // step
        size = (int(shape[across[0]]), int(shape[across[1]]))
        filled.append(fill_slice(polygons, size, exclusive=exclusive))
        voxels[tuple(target)] = filled[-1].voxels
    affine = image.affine.copy()
    affine[:3, axis] *= step
    affine[:3, 3] = image.to_world(start[None].astype(float))[0]
    x, y, z = (int(n) for n in shape)
    return FilledContours(voxels, Grid((x, y, z), affine), _notes(filled))


def _notes(filled: Sequence[FilledSlice]) -> tuple[str, ...]:
    repeats = sum(one.repeats for one in filled)
    crossing = sum(one.crossing for one in filled)
    notes = []
    if repeats:
        notes.append(f"contours of the mask that repeat another count once: {repeats}")
    if crossing:
        notes.append(f"contours of the mask cross on {crossing} slices and are united")
    return tuple(notes)


def _slice_axis(indices: Sequence[np.ndarray]) -> int:
    """Return the axis of the image that is normal to every contour."""
    extents = np.array([np.ptp(points, axis=0) for points in indices])
    flat = (extents <= _FLAT).all(axis=0)
    if not flat.any():
        raise ContourError(
            "its contours do not lie in the image's slices: were they drawn on a tilted series?"
        )
    return int(np.flatnonzero(flat)[-1])


def _span(numbers: Sequence[float] | np.ndarray) -> str:
    return " × ".join(f"{number:.0f}" for number in numbers)
