"""Resample tilted and unevenly spaced slices onto a regular, untilted grid."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from ctbone.dicom.geometry import SliceStack
from ctbone.grid import LPS_TO_RAS, Grid
from ctbone.nifti import AIR


def resample_irregular(data: np.ndarray, stack: SliceStack) -> tuple[np.ndarray, np.ndarray]:
    """Resample slices onto the grid of an untilted scanner, in one linear interpolation.

    The third axis of the new grid is the line through the slices, with the median gap as its step.
    The pixel spacing is kept. The grid contains every pixel of every slice; voxels outside the
    slices are air (−1024 HU). Gaps between slices are interpolated linearly, whatever their size.

    Parameters
    ----------
    data
        (column, row, slice), HU.
    stack
        Geometry of the slices.

    Returns
    -------
    tuple
        The volume, with the dtype of ``data``, and its affine (4, 4) to RAS mm.
    """
    grid = untilted_grid(stack)
    shape, affine = grid.shape, LPS_TO_RAS @ grid.affine
    along = stack.positions @ stack.normal
    slices = np.arange(len(along), dtype=float)
    result = np.empty((shape[2], shape[1], shape[0]), data.dtype)
    i, j = np.meshgrid(np.arange(shape[0]), np.arange(shape[1]), indexing="ij")
    for k in range(shape[2]):
        index = np.stack([i, j, np.full_like(i, k)], axis=-1).reshape(-1, 3)
        points = index @ affine[:3, :3].T + affine[:3, 3]
        at = np.interp(points @ stack.normal, along, slices, left=-2.0, right=len(along) + 1.0)
        # Position of the first pixel of the (fractional) slice at each point.
        firsts = np.stack(
            [np.interp(at, slices, stack.positions[:, axis]) for axis in range(3)], axis=-1
        )
        offset = points - firsts
        coordinates = np.stack(
            [offset @ stack.row / stack.pixel[0], offset @ stack.column / stack.pixel[1], at]
        )
        values = ndimage.map_coordinates(
            data, coordinates, np.float32, order=1, mode="constant", cval=AIR
        )
        plane = values.reshape(shape[0], shape[1]).T
        result[k] = plane if data.dtype == np.float32 else np.rint(plane)
    return result.transpose(2, 1, 0), grid.affine


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
    x, y, z = (int(n) for n in np.floor((high - low) / steps + 1e-3) + 1)
    return low, (x, y, z)
