"""Fill closed planar contours with voxels, by the even–odd rule."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ctbone.grid import Grid

_FLAT = 0.1
"""Extent along an axis, in voxels, up to which a contour counts as planar across it."""
_OFF_SLICE = 0.25
"""Distance from the nearest slice, in voxels, up to which a contour belongs to it."""
_MOST_VOXELS = 2**31
"""Voxels of the largest mask that is filled."""


class ContourError(Exception):
    """Why contours cannot be filled on an image."""


def fill_contours(contours: Sequence[np.ndarray], image: Grid) -> tuple[np.ndarray, Grid]:
    """Fill contours on the slices of the image on which they were drawn.

    Parameters
    ----------
    contours
        Each (n, 3), in RAS mm; its last point is joined to its first.
    image
        Grid of the image.

    Returns
    -------
    tuple
        Booleans on the part of the image's grid that contains the contours, and the grid of that
        part. Where only every second or third slice was drawn on, its voxels are as thick as two or
        three slices.

    Raises
    ------
    ContourError
        A contour has fewer than three points, lies across or between the image's slices, or leaves
        the image.

    Notes
    -----
    A voxel is inside where a ray from its centre crosses the contours of its slice an odd number of
    times: a contour within another is a hole, and a hole joined to the outside by a channel of zero
    width stays a hole. Time and memory grow with the number of rows that edges cross, not with the
    number of voxels.
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
    for place in np.unique(slices):
        polygons = [indices[k][:, across] - start[across] for k in np.flatnonzero(slices == place)]
        target = [slice(None)] * 3
        target[axis] = (place - slices.min()) // step
        voxels[tuple(target)] = inside(polygons, (int(shape[across[0]]), int(shape[across[1]])))
    affine = image.affine.copy()
    affine[:3, axis] *= step
    affine[:3, 3] = image.to_world(start[None].astype(float))[0]
    x, y, z = (int(n) for n in shape)
    return voxels, Grid((x, y, z), affine)


def inside(polygons: Sequence[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """Return which points of an integer lattice are inside polygons, by the joint even–odd rule.

    Parameters
    ----------
    polygons
        Each (n, 2), in lattice units.
    shape
        Of the lattice.

    Examples
    --------
    >>> outer = np.array([[-0.5, -0.5], [4.5, -0.5], [4.5, 4.5], [-0.5, 4.5]])
    >>> hole = np.array([[0.5, 0.5], [3.5, 0.5], [3.5, 3.5], [0.5, 3.5]])
    >>> inside([outer, hole], (5, 5)).astype(int)
    array([[1, 1, 1, 1, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 0, 0, 0, 1],
           [1, 1, 1, 1, 1]])
    """
    crossings = np.zeros((shape[0] + 1, shape[1]), np.int32)
    for polygon in polygons:
        first, second = polygon, np.roll(polygon, -1, axis=0)
        low, high = np.minimum(first[:, 1], second[:, 1]), np.maximum(first[:, 1], second[:, 1])
        # Columns of the lattice in [low, high): an end is counted once, though two edges share it.
        begin = np.clip(np.ceil(low), 0, shape[1]).astype(int)
        end = np.clip(np.ceil(high), 0, shape[1]).astype(int)
        count = np.maximum(end - begin, 0)
        edge = np.repeat(np.arange(len(polygon)), count)
        column = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + begin[edge]
        share = (column - first[edge, 1]) / (second[edge, 1] - first[edge, 1])
        at = first[edge, 0] + share * (second[edge, 0] - first[edge, 0])
        row = np.clip(np.ceil(at), 0, shape[0]).astype(int)
        np.add.at(crossings, (row, column), 1)
    filled: np.ndarray = np.cumsum(crossings, axis=0)[:-1] % 2 == 1
    return filled


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
