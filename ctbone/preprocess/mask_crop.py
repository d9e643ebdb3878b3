"""The lesion on the grid of a crop, by the same affine."""

from __future__ import annotations

import numpy as np

from ctbone.grid import Grid
from ctbone.preprocess.mask import Mask
from ctbone.resample import sample_mask

_NUDGE = np.array([0.01, 0.006, 0.003])


def mask_on(mask: Mask, target: Grid) -> np.ndarray:
    """Draw the lesion on another grid: 1 where the interpolated mask is at least one half.

    Where the lesion's face runs exactly through voxel centres, its lower side is inside and its upper side outside
    (towards R, A and S), so that the volume is kept. A lesion that falls between all centres keeps the
    voxels that it lies in.

    Returns
    -------
    numpy.ndarray
        uint8 0 or 1, of the target's shape.
    """
    affine = target.affine.copy()
    affine[:3, 3] += _NUDGE * np.abs(target.affine[:3, :3]).max()
    drawn = sample_mask(mask.voxels, mask.grid, Grid(target.shape, affine)).astype(np.uint8)
    if not drawn.any():
        index = np.rint(target.to_index(mask.grid.to_world(np.argwhere(mask.voxels)))).astype(int)
        x, y, z = index[((index >= 0) & (index < target.shape)).all(axis=1)].T
        drawn[x, y, z] = 1
    return drawn
