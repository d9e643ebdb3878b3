"""Resample tilted and unevenly spaced slices onto a regular, untilted grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from ctbone.dicom.geometry import SliceStack
from ctbone.grid import LPS_TO_RAS, Grid
from ctbone.hounsfield import AIR

# Share of a voxel by which an extent may exceed a whole number of voxels through rounding alone.
_ROUNDING = 1e-2
# Points up to this share of a voxel (a pixel, or the gap along the normal) beyond the centres of
# the outermost pixels take their values; points further out are air.
_REACH = 0.5 + _ROUNDING


@dataclass(frozen=True)
class Resampled:
    """A resampled volume.

    Attributes
    ----------
    data
        (i, j, k), HU, with the type of the slices.
    affine
        (4, 4), voxel index to RAS mm.
    outside
        Number of voxels that lie outside the slices and are air.
    """

    data: np.ndarray
    affine: np.ndarray
    outside: int


def resample_irregular(data: np.ndarray, stack: SliceStack) -> Resampled:
    """Resample slices onto the grid of an untilted scanner, in one linear interpolation.

    The third axis of the new grid is the line through the slices, with the median gap as its step.
    The pixel spacing is kept. The grid contains every pixel of every slice, and exceeds them by
    half a voxel at most. Voxels up to half a voxel beyond the slices take the nearest values,
    others are air (−1024 HU). Gaps between slices are interpolated linearly, whatever their size.

    Parameters
    ----------
    data
        (column, row, slice), HU.
    stack
        Geometry of the slices.
    """
    grid = untilted_grid(stack)
    shape, affine = grid.shape, LPS_TO_RAS @ grid.affine
    last = np.array(data.shape) - 1
    result = np.empty((shape[2], shape[1], shape[0]), data.dtype)
    outside = 0
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for k in range(shape[2]):
        index = np.stack([i, j, np.full_like(i, k)], axis=-1).reshape(-1, 3)
        points = index @ affine[:3, :3].T + affine[:3, 3]
        at, beyond = _slice_coordinates(points, stack)
        values = ndimage.map_coordinates(
            data, at.clip(0, last).T, np.float32, order=1, mode="nearest"
        )
        beyond |= ((at[:, :2] < -_REACH) | (at[:, :2] > last[:2] + _REACH)).any(axis=1)
        values[beyond] = AIR
        outside += int(np.count_nonzero(beyond))
        plane = values.reshape(shape[0], shape[1]).T
        result[k] = plane if data.dtype == np.float32 else np.rint(plane)
    return Resampled(result.transpose(2, 1, 0), grid.affine, outside)


def _slice_coordinates(points: np.ndarray, stack: SliceStack) -> tuple[np.ndarray, np.ndarray]:
    """Return column, row and fractional slice of points (LPS mm), and which lie beyond the ends."""
    along = stack.positions @ stack.normal
    slices = np.arange(len(along), dtype=float)
    height = points @ stack.normal
    inside = height.clip(along[0], along[-1])
    beyond = np.abs(height - inside) > _REACH * stack.gap
    at = np.interp(inside, along, slices)
    # Position of the first pixel of the (fractional) slice at each point.
    firsts = np.stack(
        [np.interp(at, slices, stack.positions[:, axis]) for axis in range(3)], axis=-1
    )
    offset = points - firsts
    coordinates = np.stack(
        [offset @ stack.row / stack.pixel[0], offset @ stack.column / stack.pixel[1], at], axis=-1
    )
    return coordinates, beyond


def untilted_grid(stack: SliceStack) -> Grid:
    """Return the grid of ``resample_irregular``."""
    axes = _untilted(stack)
    steps = _steps(stack, axes)
    low, shape = _extent(stack, axes, steps)
    affine = np.eye(4)
    affine[:3, :3] = axes * steps
    affine[:3, 3] = axes @ low
    return Grid(shape, LPS_TO_RAS @ affine)


def _untilted(stack: SliceStack) -> np.ndarray:
    """Return the new axes (LPS) as columns; the first is the row direction made orthogonal."""
    line = stack.positions[-1] - stack.positions[0]
    third = line / np.linalg.norm(line)
    first = stack.row - (stack.row @ third) * third
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(third, first), third], axis=1)


def _steps(stack: SliceStack, axes: np.ndarray) -> np.ndarray:
    between = np.diff(stack.positions @ axes[:, 2])
    return np.array([*stack.pixel, float(np.median(between))])


def _extent(
    stack: SliceStack, axes: np.ndarray, steps: np.ndarray
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Return the position of the first voxel along the new axes (mm), and the shape."""
    columns, rows, _ = stack.shape
    right = stack.row * stack.pixel[0] * (columns - 1)
    down = stack.column * stack.pixel[1] * (rows - 1)
    corners = (
        np.concatenate([stack.positions + a * right + b * down for a in (0, 1) for b in (0, 1)])
        @ axes
    )
    low, high = corners.min(axis=0), corners.max(axis=0)
    steps_between = np.ceil((high - low) / steps - _ROUNDING)
    # What the grid exceeds the slices by is equal at both ends: half a voxel at most.
    first = (low + high - steps_between * steps) / 2
    x, y, z = (int(n) + 1 for n in steps_between)
    return first, (x, y, z)
